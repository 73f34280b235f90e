"""The picture: accuracy against sparsity for every training, and the pixels that the chosen ones read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from data import PIXELS, SIDE
from experiment import BOTH, GROUP_LASSO, L1, L1_BESIDE_GROUPS
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from experiment import Comparison, Training
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure
    from numpy.typing import NDArray

# Okabe and Ito's colours, which colour-blind people can tell apart; the shapes differ as well.
COLOURS = {L1.name: "#0072B2", GROUP_LASSO.name: "#D55E00", BOTH.name: "#009E73"}
MARKERS = {L1.name: "o", GROUP_LASSO.name: "s", BOTH.name: "^"}
LABELS = {
    L1.name: "L1 norm of the weights",
    GROUP_LASSO.name: "Group lasso of the pixels",
    BOTH.name: f"Both (L1 at {L1_BESIDE_GROUPS:g})",
}
INK = "#333333"
FAINT = "#999999"
GRID = "#EAEAEA"
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "font.size": 10,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
ZERO_SHARES = (0, 50, 80, 90, 95, 98)


def draw(comparison: Comparison, mean_image: NDArray[np.float64], tolerance: float, path: Path) -> None:
    """Draw the picture into a PNG file."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 8.6), dpi=100)
        grid = figure.add_gridspec(3, 1, height_ratios=(0.22, 1.15, 0.82))
        heading, above, below = (figure.add_subfigure(grid[row, 0]) for row in range(3))
        _draw_heading(heading, tolerance)
        _draw_accuracies(above, comparison)
        _draw_pixels(below, comparison, mean_image)
        figure.savefig(path)


def _draw_heading(figure: SubFigure, tolerance: float) -> None:
    figure.text(
        0.04,
        0.58,
        "How much of a network that reads handwritten digits can go before it gets worse?",
        fontsize=15,
        fontweight="bold",
    )
    figure.text(
        0.04,
        0.04,
        "Each mark is one network, trained from the same start with another strength of its penalty. "
        "Outlined is the sparsest\n"
        f"that loses at most {tolerance:g} point of accuracy on validation images; "
        "the test images shown here had no part in that choice.",
        linespacing=1.5,
    )


def _draw_accuracies(figure: SubFigure, comparison: Comparison) -> None:
    weights, pixels = figure.subplots(
        1,
        2,
        sharey=True,
        width_ratios=(1.4, 1),
        gridspec_kw={"left": 0.065, "right": 0.98, "bottom": 0.13, "top": 0.87, "wspace": 0.06},
    )
    _draw_curves(weights, comparison, _sparsity)
    weights.set_xticks(
        [-np.log10(1 - share / 100) for share in ZERO_SHARES], [f"{share} %" for share in ZERO_SHARES]
    )
    weights.set_xlabel("Weights that are exactly 0  (sparser →; logarithmic in those that are left)")
    weights.set_ylabel("Test accuracy, %")
    _draw_curves(pixels, comparison, lambda training: training.pixels_kept)
    pixels.invert_xaxis()
    pixels.xaxis.set_major_locator(MultipleLocator(SIDE))
    pixels.set_xlabel(f"Pixels of {PIXELS} that the network reads  (fewer →)")
    figure.legend(
        *weights.get_legend_handles_labels(),
        loc="upper left",
        bbox_to_anchor=(0.055, 1),
        ncols=5,
        frameon=False,
    )


def _sparsity(training: Training) -> float:
    """How far to the right a training stands: the powers of ten that its weights are fewer by."""
    return -float(np.log10(max(training.nonzeros, 1) / training.weights))


def _draw_curves(axes: Axes, comparison: Comparison, place: Callable[[Training], float]) -> None:
    """One curve for each penalty, from the weakest strength to the strongest."""
    plain = comparison.unregularized
    axes.axhline(plain.test_accuracy, color=FAINT, linestyle="--", linewidth=1, label="_")
    axes.plot(
        place(plain), plain.test_accuracy, "D", color=INK, markersize=9, label="No regularization", zorder=3
    )
    for name, trainings in comparison.trainings.items():
        axes.plot(
            [place(training) for training in trainings],
            [training.test_accuracy for training in trainings],
            marker=MARKERS[name],
            color=COLOURS[name],
            linewidth=1.5,
            label=LABELS[name],
        )
        chosen = comparison.chosen[name]
        axes.plot(
            place(chosen),
            chosen.test_accuracy,
            marker=MARKERS[name],
            markersize=16,
            color=COLOURS[name],
            fillstyle="none",
            markeredgewidth=2,
        )
    axes.margins(y=0.08)
    axes.plot([], [], "o", markersize=13, color=INK, fillstyle="none", label="Chosen by validation")


def _draw_pixels(figure: SubFigure, comparison: Comparison, mean_image: NDArray[np.float64]) -> None:
    figure.text(
        0.04,
        0.92,
        "Where they look: the darker a pixel, the larger its weights; crossed out: all its weights are 0",
        fontsize=11,
        fontweight="bold",
    )
    networks = [comparison.unregularized, *comparison.chosen.values()]
    image, *maps = figure.subplots(
        1,
        1 + len(networks),
        gridspec_kw={"left": 0.04, "right": 0.98, "bottom": 0.05, "top": 0.73, "wspace": 0.12},
    )
    image.imshow(mean_image.reshape(SIDE, SIDE), cmap="gray_r", vmin=0)
    image.set_title("For comparison: the\nmean training image", fontsize=10)
    for axes, training in zip(maps, networks, strict=True):
        _draw_map(axes, training)
    for axes in (image, *maps):
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.spines[:].set_visible(True)


def _draw_map(axes: Axes, training: Training) -> None:
    """One square for each pixel, shaded by the norm of its weights."""
    norms = training.pixel_norms.reshape(SIDE, SIDE)
    shades = LinearSegmentedColormap.from_list("", ["#FFFFFF", COLOURS.get(training.name, INK)])
    # Below 0, so that the faintest pixel that is read is not white.
    lowest = -0.25 * norms.max()
    axes.imshow(np.where(norms == 0, lowest, norms), cmap=shades, vmin=lowest, vmax=norms.max())
    rows, columns = np.nonzero(norms == 0)
    axes.scatter(columns, rows, marker="x", s=30, color=FAINT, linewidth=1)
    axes.set_title(
        f"{LABELS.get(training.name, 'No regularization')}\n{training.pixels_kept} pixels, "
        f"{training.nonzeros:,} weights",
        fontsize=10,
    )
