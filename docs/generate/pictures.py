"""A picture for each regularizer that is a sum over elements: its penalty beside its proximal step."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from regularization_kernels import REGULARIZERS, Levels, Regularizer

from docs.generate import geometry
from docs.generate.kinds import has_picture
from docs.generate.page import DOCS, GEOMETRY, picture_of
from docs.generate.style import BLUE, FAINT, INK, ORANGE, PALE, save, style

# One value for each field that such a regularizer has; a concavity between the two step sizes shows both
# branches of the step.
EXAMPLES: dict[str, Any] = {
    "strength": 0.5,
    "l1_strength": 0.5,
    "l2_strength": 0.5,
    "delta": 1.0,
    "epsilon": 0.5,
    "concavity": 2.25,
    "lower": -1.0,
    "upper": 1.0,
    "levels": Levels(explicit=(-1.5, 0.0, 1.5)),
}
STEP_SIZES = (1.0, 3.0)
REACH = 3.0
_POINTS = 1201

Array = npt.NDArray[np.float64]


def draw_all(folder: Path = DOCS, suffix: str = ".svg") -> None:
    """Draw every picture of the page.

    Args:
        folder: Where the page lies.
        suffix: The format: ".svg", or ".png" to look at.
    """
    with style():
        for name in drawn():
            draw(name, (folder / picture_of(name)).with_suffix(suffix))
        save(geometry.picture(), folder / GEOMETRY)


def drawn() -> list[str]:
    """The names of the regularizers that have a picture."""
    return [name for name, cls in REGULARIZERS.items() if has_picture(cls)]


def draw(name: str, path: Path) -> None:
    """Draw the picture of one regularizer."""
    with style():
        save(_picture(example(name)), path)


def example(name: str) -> Regularizer:
    """The regularizer that is drawn."""
    cls = REGULARIZERS[name]
    return cls(**{field.name: EXAMPLES[field.name] for field in fields(cls)}).on((1,))


def _picture(regularizer: Regularizer) -> Figure:
    figure = Figure(figsize=(6.6, 2.5), layout="constrained")
    penalty, step = figure.subplots(1, 2)
    x = np.linspace(-REACH, REACH, _POINTS)
    _draw_penalty(penalty, x, regularizer)
    _draw_step(step, x, regularizer)
    for axes in (penalty, step):
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlim(-REACH, REACH)
        axes.set_xticks([-2, 0, 2])
        axes.set_xlabel("x", labelpad=1)
    return figure


def _draw_penalty(axes: Axes, x: Array, regularizer: Regularizer) -> None:
    with np.errstate(all="ignore"):
        values = np.array([regularizer.value(np.array([each])) for each in x])
    inside = np.isfinite(values)
    axes.axhline(0, color=PALE, linewidth=1, zorder=0)
    _curve(axes, x, np.where(inside, values, np.nan), color=BLUE)
    for begin, end in _stretches(~inside):
        axes.axvspan(x[begin], x[end], color=PALE, linewidth=0, zorder=0)
        axes.text(float(x[begin] + x[end]) / 2, 0.5, "+∞", transform=axes.get_xaxis_transform(), ha="center")
    top, bottom = max(1.5, float(np.max(values[inside]))), min(0.0, float(np.min(values[inside])))
    axes.set_ylim(bottom - 0.08 * (top - bottom), 1.06 * top)
    said = [f"{field.name} {_number(EXAMPLES[field.name])}" for field in fields(regularizer)]
    axes.set_title(f"penalty, {', '.join(said)}", fontweight="normal")


def _number(value: float | Levels) -> str:
    numbers = value.explicit or () if isinstance(value, Levels) else (value,)
    return " ".join(f"{number:g}" for number in numbers).replace("-", "−")  # noqa: RUF001


def _draw_step(axes: Axes, x: Array, regularizer: Regularizer) -> None:
    axes.plot(x, x, color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
    axes.axhline(0, color=PALE, linewidth=1, zorder=0)
    results = []
    looks = zip(STEP_SIZES, (BLUE, ORANGE), ("-", (0, (4, 1.2))), strict=True)
    for step_size, color, dashes in list(looks)[: 1 if regularizer.traits.indicator else 2]:
        result = np.empty_like(x)
        with np.errstate(all="ignore"):
            regularizer.prox(x, step_size, result)
        label = "any step size" if regularizer.traits.indicator else f"step size {step_size:g}"
        _curve(axes, x, result, color=color, linestyle=dashes, label=label)
        results.append(result)
    reach = max(REACH, float(np.max(np.abs(results))))
    axes.set_ylim(-1.04 * reach, 1.04 * reach)
    axes.set_title("proximal step", fontweight="normal")
    axes.legend(frameon=False, loc="upper left", fontsize=8, borderaxespad=0.1, labelcolor=INK)


def _curve(axes: Axes, x: Array, y: Array, **look: object) -> None:
    """Draw a function that may jump: no line across a jump, and a dot where it has a value of its own."""
    slope = (x[1] - x[0]) * 12
    jumps = np.abs(np.diff(y)) > slope
    jumps |= np.isnan(np.diff(y))
    for begin, end in _stretches(np.ones(len(x), dtype=bool), jumps):
        if end > begin:
            axes.plot(x[begin : end + 1], y[begin : end + 1], **look)  # type: ignore[arg-type] # colours and widths by name
            look.pop("label", None)
        elif np.isfinite(y[begin]):
            axes.plot(x[begin], y[begin], "o", color=look["color"], markersize=4)


def _stretches(
    where: npt.NDArray[np.bool_], cuts: npt.NDArray[np.bool_] | None = None
) -> list[tuple[int, int]]:
    """First and last index of every run that holds, which a cut after an element ends."""
    found: list[tuple[int, int]] = []
    for place in np.flatnonzero(where):
        if found and found[-1][1] == place - 1 and not (cuts is not None and cuts[place - 1]):
            found[-1] = (found[-1][0], int(place))
        else:
            found.append((int(place), int(place)))
    return found
