"""Whether an installed distribution works by itself: ``smoke.py client TARGET`` or ``smoke.py server``.

It is run by the interpreter of an environment that has the distribution and its dependencies alone.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from regularization_client import Client, InvalidRequestError, L1Norm

BIN = Path(sys.executable).parent
SECONDS_TO_START = 30


def calls(client: Client) -> None:
    """Make the calls that matter, and hold their answers against the formula."""
    theta = np.array([0.8, -0.3, 0.05])
    step = client.proximal_step(theta, L1Norm(strength=0.1), step_size=1.0)
    expected = np.sign(theta) * np.maximum(np.abs(theta) - 0.1, 0.0)
    if not np.array_equal(step.parameters, expected) or step.nonzeros != 2:
        raise SystemExit(f"the step is {step.parameters}")
    if not np.array_equal(client.gradient(theta, L1Norm(strength=0.1)).gradient, 0.1 * np.sign(theta)):
        raise SystemExit("the gradient is another")
    if not 50 < len(client.list_regularizers()) < 500:
        raise SystemExit("the catalogue is not whole")
    try:
        client.penalty(theta, L1Norm(strength=-1.0))
    except InvalidRequestError as refusal:
        if refusal.reason != "ERROR_REASON_FIELD_OUT_OF_RANGE":
            raise
    else:
        raise SystemExit("a negative strength is taken")


def client_alone(target: str) -> None:
    """Call a server from an environment without one, and ask for the embedded one in vain."""
    for package in ("scipy", "structlog", "grpc_health", "ml_dtypes"):
        if importlib.util.find_spec(package) is not None:
            raise SystemExit(f"{package} is installed with the client")
    with Client(target) as client:
        calls(client)
    try:
        Client().close()
    except ImportError as error:
        if "server" not in str(error):
            raise
    else:
        raise SystemExit("there is an embedded server without the server's dependencies")


def server() -> None:
    """Call the embedded server, and one of the command's."""
    with Client() as client:
        calls(client)
    with tempfile.TemporaryDirectory() as folder:
        target = f"unix:{folder}/s"
        command = [BIN / "regularization-server", "--listen", target, "--log-level", "warning"]
        process = subprocess.Popen(command)
        try:
            deadline = time.monotonic() + SECONDS_TO_START
            probe = [BIN / "regularization-server", "probe", "--target", target]
            while subprocess.run(probe, capture_output=True).returncode:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the server does not start")
            with Client(target) as client:
                calls(client)
        finally:
            process.terminate()
        if process.wait(SECONDS_TO_START):
            raise SystemExit("the server does not stop in order")


if __name__ == "__main__":
    client_alone(sys.argv[2]) if sys.argv[1] == "client" else server()
    print("works")
