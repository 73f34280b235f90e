"""What is seen while it trains: a bar on a terminal, a line for each training elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from experiment import NONE
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from types import TracebackType

    from experiment import Settings, Training
    from pruning import Pruning
    from rich.console import Console


class Display:
    """Shows how far the trainings are. A context manager.

    Args:
        console: Where to.
        settings: What there is to do.
    """

    def __init__(self, console: Console, settings: Settings) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description:<29}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("steps,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            expand=True,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=settings.all_steps)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def started(self, name: str, strength: float) -> None:
        """A training starts."""
        self._bar.update(self._task, description=_title(name, strength))

    def stepped(self) -> None:
        """A step is done."""
        self._bar.advance(self._task)

    def finished(self, training: Training | Pruning) -> None:
        """A training is done."""
        if not self._console.is_terminal:
            self._console.print(
                f"  {_title(training.name, training.strength):<29}"
                f"{training.validation_accuracy:5.1f} % validation accuracy, {training.zeros:4.1f} % zeros, "
                f"{training.seconds:.1f} s",
                highlight=False,
            )


def _title(name: str, strength: float) -> str:
    if strength:
        return f"{name}, strength {strength:g}"
    return "No regularization" if name == NONE.name else name
