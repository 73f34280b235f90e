"""How the pictures look, and how they are written so that the same picture has the same bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

# Blue and orange of Okabe and Ito, which colour-blind people can tell apart; the dashes differ as well.
BLUE, ORANGE, INK, FAINT, PALE = "#0072B2", "#D55E00", "#22272E", "#8A8F98", "#E3E6EA"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.8,
    "path.simplify_threshold": 0.3,
    "svg.hashsalt": "regularizers",
}

_OUTLINE = re.compile(r' d="[^"]*"')


@contextmanager
def style() -> Iterator[None]:
    """Draw in the pictures' style."""
    with mpl.rc_context(_STYLE):
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a picture, without the time and without the program's version in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None, "Creator": None} if path.suffix == ".svg" else None
    figure.savefig(path, metadata=metadata, dpi=110)
    if path.suffix == ".png":
        Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)
    else:
        # A hundredth of a point is as fine as anyone sees, and a third of the bytes.
        drawn = path.read_text(encoding="utf-8")
        path.write_text(_OUTLINE.sub(_rounded, drawn), encoding="utf-8")


def _rounded(outline: re.Match[str]) -> str:
    return re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), outline[0])
