"""The second picture: how a plan prunes over the steps, and a path with the strength that is chosen on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from data import PIXELS
from matplotlib.figure import Figure
from picture import FAINT, INK, STYLE

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from pruning import Pruning
    from selection import Choice

LAYERS = {"hidden.weight": ("Hidden layer", "#0072B2"), "output.weight": ("Output layer", "#D55E00")}
READ = "#009E73"


def draw_course(pruning: Pruning, choice: Choice, path: Path) -> None:
    """Draw the picture into a PNG file."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 4.6), dpi=100)
        left, middle, right = figure.subplots(
            1, 3, gridspec_kw={"left": 0.055, "right": 0.985, "bottom": 0.13, "top": 0.82, "wspace": 0.27}
        )
        _draw_pruning(left, pruning)
        _draw_errors(middle, choice)
        _draw_path(right, choice)
        figure.savefig(path)


def _draw_pruning(axes: Axes, pruning: Pruning) -> None:
    """The zeros of each layer after each step."""
    for name, shares in pruning.course.items():
        label, colour = LAYERS[name]
        axes.plot(np.arange(1, len(shares) + 1), shares, color=colour, label=label)
    axes.axhline(pruning.zeros, color=FAINT, linestyle="--", linewidth=1)
    axes.set_ylim(0, 100)
    axes.set_xlabel("Training step")
    axes.set_ylabel("Weights that are exactly 0, %")
    axes.set_title(f"A plan prunes {pruning.zeros:.0f} % of all weights:\nwhere, the weights decide")
    axes.legend(loc="lower right", frameon=False)


def _draw_errors(axes: Axes, choice: Choice) -> None:
    """The share of held-out images that is misread, over the path."""
    validation = choice.validation
    strengths, errors, spread = (
        validation.path.strengths,
        100 * validation.mean_errors,
        100 * validation.standard_errors,
    )
    axes.fill_between(strengths, errors - spread, errors + spread, color=READ, alpha=0.2, linewidth=0)
    axes.plot(strengths, errors, "o-", color=READ, markersize=4)
    _mark(axes, choice)
    best = int(np.argmin(errors))
    axes.axhline(errors[best] + spread[best], color=FAINT, linestyle="--", linewidth=1)
    # At the left end nearly all are: what is to be seen lies near the bound.
    axes.set_ylim(0, 4 * (errors[best] + spread[best]))
    axes.set_ylabel("Held-out images misread, %")
    axes.set_title("A linear classifier: chosen is the strongest\nwithin one standard error of the best")


def _draw_path(axes: Axes, choice: Choice) -> None:
    """The norm of each pixel's weights, over the path."""
    norms, strengths = choice.pixel_norms, choice.validation.path.strengths
    chosen = norms[choice.validation.index] > 0
    for kept, colour, width in ((False, FAINT, 0.6), (True, READ, 0.9)):
        axes.plot(strengths, norms[:, chosen == kept], color=colour, linewidth=width)
    _mark(axes, choice)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("Norm of a pixel's weights")
    axes.set_title(f"A line for each pixel;\n{choice.pixels_kept} of {PIXELS} are read where it is chosen")


def _mark(axes: Axes, choice: Choice) -> None:
    """Mark the chosen strength, on an axis that goes from the strongest to the weakest."""
    axes.axvline(choice.validation.strength, color=INK, linewidth=1.2)
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.set_xlabel("Strength of the group lasso  (weaker →)")
