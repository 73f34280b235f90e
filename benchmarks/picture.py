"""Draws what was measured: ``python -m benchmarks --picture PATH``.

Blue is ours, orange is the caller's own process, grey is what others offer: eyes that see no red or
green tell them apart as well, and so do the shapes.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.harness.measure import GIBIBYTE, MEBIBYTE, machine
from benchmarks.harness.report import Findings
from benchmarks.rivals import remote
from benchmarks.rivals.in_process import ONE_LINER
from benchmarks.subjects import growth, latency
from benchmarks.subjects.comparison import Comparison
from benchmarks.subjects.growth import Growth
from benchmarks.subjects.latency import Latencies
from benchmarks.subjects.memory import INTERVAL, SERVER, Streaming

OURS, HERE, OTHERS, INK, FAINT = "#0072B2", "#D55E00", "#8A8F98", "#22272E", "#D9DDE2"
MARKERS = {OURS: "o", HERE: "D", OTHERS: "s"}
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlepad": 10,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
}


def draw(findings: Iterable[Findings | None], path: Path) -> None:
    """Draws those findings that have a panel.

    Args:
        findings: Of the benchmarks that were run.
        path: The PNG file.
    """
    wide, small = [], []
    for finding in findings:
        match finding:
            case Comparison():
                wide.append(partial(_comparison, found=finding))
                small.append(partial(_processor, found=finding))
            case Growth():
                small.append(partial(_growth, found=finding))
            case Latencies():
                small.append(partial(_latency, found=finding))
            case Streaming():
                small.append(partial(_streaming, found=finding))
    if not small:
        return
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13, 11.5), layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12))
        grid = figure.add_gridspec(len(small), 2 if wide else 1, width_ratios=(1, 1.2) if wide else None)
        for panel in wide:
            panel(figure.add_subplot(grid[:, 0]))
        for row, panel in enumerate(small):
            panel(figure.add_subplot(grid[row, -1]))
        words = f"Medians, and ranges, of interleaved rounds in one run. {machine().partition('; load')[0]}"
        figure.supxlabel(words, size=7.5, x=0.01, ha="left")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)


def _color(name: str) -> str:
    if name in remote.OURS or name in latency.OURS:
        return OURS
    return OTHERS if name in OTHER_PROCESSES else HERE


OTHER_PROCESSES = {
    *(remote.ECHO, remote.ECHO_ARRAYS, remote.FLIGHT, remote.REPEATED, remote.BYTES, remote.SOCKET),
    *(latency.ECHO, latency.ECHO_AS_UNARY, latency.UNARY, latency.BYTES, latency.STUB),
}


def _comparison(axes: Axes, found: Comparison) -> None:
    order = sorted(found.step, key=lambda name: found.step[name].rate.median)
    for place, name in enumerate(order):
        rates, color = found.step[name].rate, _color(name)
        low, high = min(rates.values), max(rates.values)
        axes.plot([low, high], [place, place], color=color, alpha=0.3, linewidth=5, solid_capstyle="round")
        axes.plot(rates.median, place, MARKERS[color], color=color, markersize=7.5)
        axes.annotate(
            f"{rates.median:.2g}" if rates.median < 10 else f"{rates.median:.0f}",
            (high, place),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            size=8.5,
            color=color,
        )
    one_liner = found.step[ONE_LINER].rate.median
    axes.axvline(one_liner, color=HERE, linewidth=1, linestyle=(0, (2, 3)), zorder=0)
    axes.set_xscale("log")
    axes.set_yticks(range(len(order)), order)
    for label, name in zip(axes.get_yticklabels(), order, strict=True):
        label.set_color(_color(name))
        label.set_fontweight("bold" if _color(name) == OURS else "normal")
    _plain_numbers(axes)
    axes.margins(x=0.09, y=0.025)
    axes.set_xlim(right=5 * max(max(timing.rate.values) for timing in found.step.values()))
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.set_xlabel("GiB of parameters in a second, one way (more is better)")
    axes.set_title("One proximal step of L1 over the same float32 vector")
    axes.annotate(
        "the one-liner",
        (one_liner, len(order) - 1),
        xytext=(-4, 6),
        textcoords="offset points",
        size=8.5,
        ha="right",
        color=HERE,
    )
    for color, words in ((OURS, "ours"), (HERE, "in the caller's process"), (OTHERS, "another process")):
        axes.plot([], [], MARKERS[color], color=color, markersize=7.5, label=words)
    axes.legend(loc="lower right", frameon=False, handletextpad=0.3, borderaxespad=0.2)


def _processor(axes: Axes, found: Comparison) -> None:
    names = (remote.REPEATED, remote.BYTES, remote.ECHO, remote.FLIGHT, remote.WIRE_FIGURES, remote.SOCKET)
    order = [name for name in (*names, remote.SHARED_FIGURES) if name in found.step][::-1][:-1]
    for place, name in enumerate(order):
        timing, color = found.step[name], _color(name)
        server = timing.server or 0.0
        axes.barh(place, timing.caller, color=color, alpha=0.45, height=0.62)
        axes.barh(place, server, left=timing.caller, color=color, height=0.62)
        end = (timing.caller + server, place)
        axes.annotate(
            f"{end[0]:.2g}",
            end,
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            size=8.5,
            color=color,
        )
    axes.set_yticks(range(len(order)), order)
    for label, name in zip(axes.get_yticklabels(), order, strict=True):
        label.set_color(_color(name))
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.margins(x=0.1)
    axes.set_title("CPU seconds for each GiB: caller (pale), server")


def _growth(axes: Axes, found: Growth) -> None:
    looks = {
        growth.SHARED: (OURS, "-", "o"),
        growth.WIRE: (OURS, (0, (4, 2)), "o"),
        growth.KERNEL: (HERE, "-", "D"),
        ONE_LINER: (HERE, (0, (1, 1.5)), "D"),
    }
    for name, times in found.seconds.items():
        color, dashes, marker = looks[name]
        sizes, medians = list(times), [spread.median * 1e3 for spread in times.values()]
        axes.plot(
            sizes,
            medians,
            color=color,
            linestyle=dashes,
            marker=marker,
            markersize=4.5,
            linewidth=1.8,
            label=name,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid()
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("elements")
    axes.set_title("Milliseconds a call, by the number of elements")
    axes.legend(frameon=False, loc="lower right", labelcolor="linecolor", borderaxespad=0.2)


def _latency(axes: Axes, found: Latencies) -> None:
    order = list(found.figures)[::-1]
    for place, name in enumerate(order):
        middle, slow = (spread.median * 1e3 for spread in found.figures[name])
        color = _color(name)
        axes.plot(
            [middle, slow], [place, place], color=color, alpha=0.35, linewidth=4, solid_capstyle="round"
        )
        axes.plot(middle, place, MARKERS[color], color=color, markersize=6.5)
        axes.plot(slow, place, "|", color=color, markersize=10, markeredgewidth=2)
    axes.set_yticks(range(len(order)), order)
    for label, name in zip(axes.get_yticklabels(), order, strict=True):
        label.set_color(_color(name))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    _plain_numbers(axes)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.margins(y=0.08)
    axes.set_title(f"Milliseconds of {latency.ELEMENTS:,} elements, p50 to p99")


def _streaming(axes: Axes, found: Streaming) -> None:
    for side, samples in found.samples.items():
        color = OURS if side == SERVER else HERE
        grown = (np.array(samples) - found.before[side]) / MEBIBYTE
        axes.plot(np.arange(len(samples)) * INTERVAL, grown, color=color, linewidth=1.5, label=side)
    axes.axhline(64, color=INK, linewidth=1, linestyle=(0, (2, 3)))
    axes.annotate("aim: 64", (0, 64), xytext=(0, -11), textcoords="offset points", size=8)
    axes.set_ylim(top=80)
    axes.grid(axis="y")
    axes.set_xlabel("seconds")
    axes.set_title(f"MiB of growth while {found.size / GIBIBYTE:g} GiB stream through")
    axes.legend(frameon=False, labelcolor="linecolor", ncols=2, loc="center right")


def _plain_numbers(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
