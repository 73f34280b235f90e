"""What a person reads, the table on the screen; and the figures as a file, for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from data import PIXELS
from experiment import BOTH, GROUP_LASSO, L1, L1_BESIDE_GROUPS, NONE, Comparison, Settings, Training
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOTHING = "–"  # noqa: RUF001 - an en dash stands where there is nothing
HEADINGS = {
    NONE.name: "None",
    L1.name: "L1 norm\nof weights",
    GROUP_LASSO.name: "Group lasso\nof pixels",
    BOTH.name: "Both\nadded",
}


def table(comparison: Comparison, settings: Settings, test_images: int) -> Table:
    """The chosen trainings side by side."""
    plain = comparison.unregularized
    result = Table(
        title=f"Sparse networks against a dense one, on {test_images} held-out test images",
        caption=f"Of each penalty, the strength with the fewest weights left that loses at most "
        f"{settings.tolerance:g} point on the validation images; the test images have no say.",
        title_style="bold",
        caption_style="",
        caption_justify="left",
    )
    columns = [plain, *comparison.chosen.values()]
    result.add_column("Regularization")
    for training in columns:
        result.add_column(HEADINGS[training.name], justify="right")
    for label, cell in _accuracy_rows(plain):
        result.add_row(label, *map(cell, columns))
    result.add_section()
    for label, cell in _size_rows(plain):
        result.add_row(label, *map(cell, columns))
    result.add_section()
    for label, cell in _effort_rows():
        result.add_row(label, *map(cell, columns))
    return result


def verdict(comparison: Comparison) -> list[str]:
    """One sentence on each chosen training, on that which a plan prunes, and on the linear classifier."""
    plain = comparison.unregularized
    return [
        f"{training.name}: {training.zeros:.0f} % of the weights are exactly 0, "
        f"{training.pixels_kept} of {PIXELS} pixels are read; "
        f"{_change(training.test_accuracy - plain.test_accuracy)}."
        for training in comparison.chosen.values()
    ] + [_of_pruning(comparison), _of_choice(comparison)]


def write_figures(comparison: Comparison, path: Path) -> None:
    """Write the figures of all trainings as JSON."""
    figures = {
        "unregularized": _figures(comparison.unregularized),
        "trainings": {
            name: [_figures(training) for training in tried] for name, tried in comparison.trainings.items()
        },
        "chosen": {name: _figures(training) for name, training in comparison.chosen.items()},
        "pruning": asdict(comparison.pruning) | {"zeros_percent": comparison.pruning.zeros},
        "selection": _figures_of_choice(comparison),
    }
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _unless_none(text: Callable[[Training], str]) -> Callable[[Training], str]:
    return lambda training: NOTHING if training.name == NONE.name else text(training)


def _accuracy_rows(plain: Training) -> list[tuple[str, Callable[[Training], str]]]:
    return [
        ("Strength", _unless_none(_strength)),
        ("Validation accuracy", lambda training: f"{training.validation_accuracy:.1f} %"),
        ("Test accuracy", lambda training: f"[bold]{training.test_accuracy:.1f} %[/]"),
        (
            "  against none",
            _unless_none(lambda training: f"{training.test_accuracy - plain.test_accuracy:+.1f} points"),
        ),
    ]


def _size_rows(plain: Training) -> list[tuple[str, Callable[[Training], str]]]:
    return [
        (f"Weights kept of {plain.weights:,}", lambda training: f"{training.nonzeros:,}"),
        ("Zero weights", lambda training: f"[bold]{training.zeros:.1f} %[/]"),
        (f"Pixels kept of {PIXELS}", lambda training: f"[bold]{training.pixels_kept}[/]"),
        ("Penalty at the end", _unless_none(lambda training: f"{training.penalty:.3f}")),
    ]


def _effort_rows() -> list[tuple[str, Callable[[Training], str]]]:
    return [
        ("Training steps", lambda training: f"{training.steps}"),
        ("Calls of the service", lambda training: f"{training.calls}"),
        ("  time of one", lambda training: f"{1000 * training.seconds_in_service / training.calls:.1f} ms"),
        ("Time of the training", lambda training: f"{training.seconds:.1f} s"),
    ]


def _strength(training: Training) -> str:
    fixed = f"{L1_BESIDE_GROUPS:g} + " if training.name == BOTH.name else ""
    return f"{fixed}{training.strength:g}"


def _change(points: float) -> str:
    if round(points, 1) == 0:
        return "same test accuracy"
    return f"test accuracy {abs(points):.1f} points {'higher' if points > 0 else 'lower'}"


def _of_pruning(comparison: Comparison) -> str:
    pruning = comparison.pruning
    change = _change(pruning.test_accuracy - comparison.unregularized.test_accuracy)
    return (
        f"{pruning.name} ({pruning.framework}): {pruning.zeros:.0f} % of the weights are exactly 0, "
        f"in {pruning.seconds:.1f} s; {change}."
    )


def _of_choice(comparison: Comparison) -> str:
    choice = comparison.choice
    return (
        f"Linear classifier, strength {choice.validation.strength:.2g} by cross-validation: "
        f"{choice.pixels_kept} of {PIXELS} pixels are read; "
        f"{choice.test_accuracy:.1f} % of the test images are recognized."
    )


def _figures_of_choice(comparison: Comparison) -> dict[str, Any]:
    choice = comparison.choice
    return {
        "strengths": choice.validation.path.strengths.tolist(),
        "errors": choice.validation.mean_errors.tolist(),
        "standard_errors": choice.validation.standard_errors.tolist(),
        "pixels_kept": [int(count) for count in (choice.pixel_norms > 0).sum(axis=1)],
        "chosen": choice.validation.index,
        "converged": choice.validation.path.converged,
        "test_accuracy": choice.test_accuracy,
        "seconds": choice.seconds,
    }


def _figures(training: Training) -> dict[str, Any]:
    figures = asdict(training)
    del figures["parameters"]
    return figures | {"zeros_percent": training.zeros, "pixels_kept": training.pixels_kept}
