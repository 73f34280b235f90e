"""Why corners give zeros: what a penalty allows, and where the contours of a loss first touch it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from regularization_kernels import REGULARIZERS, Groups, Regularizer

from docs.generate.style import BLUE, FAINT, INK, ORANGE, PALE

PANELS: dict[str, dict[str, Any]] = {
    "squared_l2_norm": {"strength": 2.0},
    "elastic_net": {"l1_strength": 0.5, "l2_strength": 1.0},
    "l1_norm": {"strength": 1.0},
    "l_half": {"strength": 1.0},
    "linf_norm": {"strength": 1.0},
    "group_lasso": {"strength": 1.0, "groups": Groups(sizes=(2, 1))},
}
"""The penalties that are drawn; each allows what has a penalty of at most 1. Two elements, or two and one."""
_CENTRES = {2: np.array([0.45, 2.0]), 3: np.array([0.28, -0.1, 1.5])}
"""Where the loss is least."""
_CURVATURES = {2: np.array([[1.0, 0.6], [0.6, 0.8]]), 3: np.diag([1.0, 1.0, 0.8])}
_ANGLES = 720
_COLUMNS = 3

Array = npt.NDArray[np.float64]


def picture() -> Figure:
    """The picture, of those penalties that there are."""
    shown = [name for name in PANELS if name in REGULARIZERS]
    rows = -(-len(shown) // _COLUMNS)
    figure = Figure(figsize=(2.75 * _COLUMNS, 2.95 * rows))
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - 0.3 / (2.95 * rows), bottom=0.01, wspace=0.05)
    for place, name in enumerate(shown):
        elements = 3 if "groups" in PANELS[name] else 2
        regularizer = REGULARIZERS[name](**PANELS[name]).on((elements,))
        if elements == 2:
            axes = figure.add_subplot(rows, _COLUMNS, place + 1)
            _draw_plane(axes, regularizer)
        else:
            axes = figure.add_subplot(rows, _COLUMNS, place + 1, projection="3d", computed_zorder=False)
            _draw_space(axes, regularizer)
        axes.set_title(name, loc="left")
    return figure


def _draw_plane(axes: Any, regularizer: Regularizer) -> None:
    angles = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
    border = _border(regularizer, np.stack([np.cos(angles), np.sin(angles)], axis=-1))
    losses = _loss(border)
    best = border[np.argmin(losses)]
    side = np.linspace(-2.0, 3.0, 200)
    points = np.stack(np.meshgrid(side, side), axis=-1)
    least = losses.min()
    levels = np.sort([0.08 * least, 0.4 * least, least, 2.2 * least])
    axes.contour(side, side, _loss(points), levels=levels, colors=FAINT, linewidths=0.8)
    axes.fill(*border.T, facecolor=BLUE, alpha=0.18, linewidth=0)
    axes.plot(*np.concatenate([border, border[:1]]).T, color=BLUE, linewidth=1.4)
    axes.axhline(0, color=PALE, linewidth=0.8, zorder=0)
    axes.axvline(0, color=PALE, linewidth=0.8, zorder=0)
    axes.plot(*_CENTRES[2], "+", color=FAINT, markersize=7)
    axes.plot(*best, "o", color=ORANGE, markersize=6, zorder=4)
    axes.annotate(_told(best), best, xytext=(8, -3), textcoords="offset points", color=INK, fontsize=8.5)
    axes.set_aspect("equal")
    axes.set_xlim(-1.6, 2.3)
    axes.set_ylim(-1.3, 2.6)
    axes.set_axis_off()


def _draw_space(axes: Any, regularizer: Regularizer) -> None:
    angles = np.linspace(0, 2 * np.pi, 73)
    heights = np.linspace(0, np.pi, 61)[:, None]
    rays = [np.sin(heights) * np.cos(angles), np.sin(heights) * np.sin(angles), np.cos(heights) + 0 * angles]
    sphere = np.stack(rays, axis=-1)
    border = _border(regularizer, sphere.reshape(-1, 3)).reshape(sphere.shape)
    losses = _loss(border)
    best = border[np.unravel_index(np.argmin(losses), losses.shape)]
    # The contour of the loss through the best point: an ellipsoid.
    touching = _CENTRES[3] + sphere * np.sqrt(2 * losses.min() / np.diag(_CURVATURES[3]))
    fine: dict[str, Any] = {"rcount": 61, "ccount": 73, "linewidth": 0}
    axes.plot_surface(*np.moveaxis(border, -1, 0), color=BLUE, alpha=0.3, zorder=1, **fine)
    axes.plot_wireframe(
        *np.moveaxis(border, -1, 0), color=BLUE, rcount=7, ccount=13, linewidth=0.5, alpha=0.6, zorder=2
    )
    axes.plot_surface(*np.moveaxis(touching, -1, 0), color=FAINT, alpha=0.25, zorder=3, **fine)
    axes.plot(*best[:, None], "o", color=ORANGE, markersize=6, zorder=4)
    axes.text(*np.add(best, (0.3, 0.35, -0.2)), _told(best), color=INK, fontsize=8.5, zorder=5)
    axes.view_init(elev=14, azim=-55)
    axes.set_box_aspect((1, 1, 1.6), zoom=1.25)
    axes.set_xlim(-1, 1)
    axes.set_ylim(-1, 1)
    axes.set_zlim(-1, 2.2)
    axes.set_axis_off()


def _border(regularizer: Regularizer, rays: Array) -> Array:
    """Points where the penalty is 1, all around: on each ray it grows, so bisection finds the place."""
    low, high = np.zeros(len(rays)), np.full(len(rays), 10.0)
    for _ in range(40):
        middle = (low + high) / 2
        inside = np.array([regularizer.value(ray) for ray in rays * middle[:, None]]) <= 1
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    border: Array = rays * low[:, None]
    return np.where(np.abs(border) < 1e-12, 0.0, border)


def _loss(points: Array) -> Array:
    elements = points.shape[-1]
    away = points - _CENTRES[elements]
    result: Array = 0.5 * np.einsum("...i,ij,...j->...", away, _CURVATURES[elements], away)
    return result


def _told(point: Array) -> str:
    return f"({', '.join(f'{each + 0.0:.2f}'.rstrip('0').rstrip('.') for each in point)})"
