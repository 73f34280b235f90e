"""Devices and a gateway at the ends of a slow link: what goes over it, how long it takes, what a break costs.

    make -C examples/clients/c
    sudo .venv/bin/python examples/edge/run.py

Each row is a step of training of a keyword spotter: the weights go to the gateway and come back thinned out.
It is told how many bytes the link carried, those of IP and TCP and those sent twice included, and the result
is compared to the bit.
"""

from __future__ import annotations

import functools
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from gateway import Gateway, gateway
from keywords import STEP, STEP_SIZE, THRESHOLD, length, stepped
from link import End, Link, Quality

if TYPE_CHECKING:
    from collections.abc import Callable

NEAR, FAR = End("edge-device", "10.77.0.1"), End("edge-gateway", "10.77.0.2")
THIN = Quality(bits_per_second=1e6, delay=0.08)
LOSSY = replace(THIN, loss=0.02)
MEMORY = 128 << 20
SECONDS = 300
HALF = 25_000
"""Bytes after which a link breaks: about half of the weights."""


@dataclass(frozen=True)
class Row:
    """A step over the link, as measured: bytes each way, packets that were lost, seconds, streams it took."""

    name: str
    up: int
    down: int
    lost: int
    seconds: float
    streams: str

    def __str__(self) -> str:
        return f"{self.name:44}{self.up:10,}{self.down:10,}{self.lost:6}{self.seconds:9.2f}{self.streams:>9}"


class Experiment:
    """Steps of devices over a link.

    Args:
        programs: Folder with the device's programs.
        folder: For files.
        link: The link.
        target: The gateway's address.
    """

    def __init__(self, programs: Path, folder: Path, link: Link, target: str) -> None:
        self._programs, self._folder, self._link, self._target = programs, folder, link, target
        numbers = np.random.default_rng(0).normal(0, 0.06, length())
        self._weights = np.clip(np.rint(numbers * 2**15), -(2**15), 2**15 - 1).astype("<i2")
        self._weights.tofile(folder / "weights.q15")
        (self._weights / 2**15).astype("<f4").tofile(folder / "weights.f32")

    def naive(self, name: str, quality: Quality) -> Row:
        """float32 both ways, every zero of it."""
        files = [str(self._folder / "weights.f32"), str(self._folder / "result.f32")]
        return self._measured(
            name, quality, None, "proximal_step", *files, str(THRESHOLD), "1.0", str(SECONDS)
        )

    def device(self, name: str, quality: Quality, event: Callable[[], None] | None = None) -> Row:
        """Q15, a plan by its name, zeros as bits; and something that happens half-way."""
        row = self._measured(name, quality, event, "device", *self._arguments("result.q15"))
        self._check("result.q15")
        return row

    def many(self, name: str, quality: Quality, devices: int) -> Row:
        """Several devices at once, on one link."""
        results = [f"result{i}.q15" for i in range(devices)]
        run = functools.partial(self._run, "device")
        self._link.quality = quality
        up, down = self._link.measure()
        begin = time.monotonic()
        with ThreadPoolExecutor(devices) as pool:
            list(pool.map(lambda result: run(*self._arguments(result)), results))
        took = time.monotonic() - begin
        for result in results:
            self._check(result)
        return Row(name, up.size, down.size, up.lost + down.lost, took, "-")

    def _arguments(self, result: str) -> list[str]:
        files = [str(self._folder / "weights.q15"), str(self._folder / result)]
        return ["keywords", *files, str(STEP), str(STEP_SIZE), str(SECONDS)]

    def _measured(
        self, name: str, quality: Quality, event: Callable[[], None] | None, program: str, *arguments: str
    ) -> Row:
        self._link.quality = quality
        up, down = self._link.measure()
        if event is not None:
            self._link.after(HALF, event)
        begin = time.monotonic()
        said = dict(line.split(maxsplit=1) for line in self._run(program, *arguments).splitlines())
        took = time.monotonic() - begin
        return Row(name, up.size, down.size, up.lost + down.lost, took, said.get("streams", "1"))

    def _run(self, program: str, *arguments: str) -> str:
        command = NEAR.command(str(self._programs / program), self._target, *arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=2 * SECONDS)
        if done.returncode != 0:
            raise click.ClickException(f"{program}: {done.stderr}")
        return done.stdout

    def _check(self, result: str) -> None:
        if (self._folder / result).read_bytes() != stepped(self._weights).tobytes():
            raise click.ClickException(f"{result} is wrong")


def breaks(link: Link, server: Gateway) -> dict[str, Callable[[], None]]:
    """What may happen half-way, by what it is called."""

    def restart() -> None:
        threading.Thread(target=server.restart).start()

    return {
        "dark for 5 s half-way": functools.partial(link.go_dark, 5),
        "dark for 40 s half-way": functools.partial(link.go_dark, 40),
        "gateway killed half-way and started anew": restart,
    }


@click.command()
@click.option("--programs", default="build/clients/c", type=click.Path(path_type=Path), show_default=True)
@click.option("--devices", default=16, show_default=True, help="How many take a step at once, at the end.")
def main(programs: Path, devices: int) -> None:
    """Print a row for each way to take a step, and the gateway's memory."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Link(NEAR, FAR, THIN) as link,
        gateway(FAR, MEMORY) as (server, memory),
    ):
        experiment = Experiment(programs.absolute(), Path(folder), link, server.address)
        experiment.device("", THIN)  # the first call of a process imports
        print(f"{'':44}{'bytes up':>10}{'down':>10}{'lost':>6}{'seconds':>9}{'streams':>9}")
        print(experiment.naive("float32 both ways", THIN))
        print(experiment.device("Q15, plan, sparse", THIN))
        print(experiment.naive("float32, 2 % lost", LOSSY))
        print(experiment.device("Q15, 2 % lost", LOSSY))
        print(experiment.many(f"Q15, {devices} devices at once, 2 % lost", LOSSY, devices))
        resident, peak = server.resident, memory.peak
        for name, event in breaks(link, server).items():
            print(experiment.device(f"Q15, {name}", THIN, event))
        print(f"gateway: started anew in {server.seconds_to_start:.1f} s")
        counted = f"{peak / 2**20:.0f} of {MEMORY >> 20} MiB counted"
        print(f"gateway: {resident / 2**20:.0f} MiB resident at most, {counted}")


if __name__ == "__main__":
    main()
