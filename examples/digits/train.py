"""Train digit classifiers without regularization, with the L1 norm and with the group lasso.

Every training step is a call of the regularization service: it sends the parameters and the loss
gradients, layer by layer, and takes the new parameters back.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import click
from course import draw_course
from data import load
from experiment import Settings, compare
from picture import draw
from progress import Display
from regularization_client import Client
from report import table, verdict, write_figures
from rich.console import Console
from service import regularization_server
from threadpoolctl import threadpool_limits

SETTINGS = Settings()
QUICK_STEPS = 40
QUICK_STRENGTHS = slice(1, None, 4)
QUICK_PRUNING = 60
QUICK_PATH = 4


@click.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/digits"),
    show_default=True,
    metavar="DIR",
    help="Where the picture and the figures go.",
)
@click.option(
    "--seed",
    default=SETTINGS.seed,
    show_default=True,
    help="Decides the split and the first weights.",
)
@click.option(
    "--quick", is_flag=True, help="Few steps and strengths: to see that all works, not for the results."
)
def main(output: Path, seed: int, quick: bool) -> None:
    """Train sparse digit classifiers through the regularization service, and compare them."""
    console = Console()
    settings = replace(_quick(SETTINGS) if quick else SETTINGS, seed=seed)
    data = load(settings.seed)
    output.mkdir(parents=True, exist_ok=True)
    console.print(
        f"{settings.trainings} trainings of {settings.steps} steps on {len(data.training.digits)} images; "
        "each step goes through a regularization-server on a Unix socket.",
        highlight=False,
    )
    # One thread: the products are small, the server wants the other core, and the number of threads would
    # change their last bits.
    with (
        threadpool_limits(limits=1),
        regularization_server() as target,
        Client(target) as client,
        Display(console, settings) as display,
    ):
        start = time.perf_counter()
        comparison = compare(client, data, settings, display)
        seconds = time.perf_counter() - start
    write_figures(comparison, output / "digits.json")
    draw(comparison, data.mean, settings.tolerance, output / "digits.png")
    draw_course(comparison.pruning, comparison.choice, output / "course.png")
    console.print("", table(comparison, settings, len(data.test.digits)), "")
    for line in verdict(comparison):
        console.print(line, highlight=False)
    console.print()
    for kind, name in (("Pictures", "digits.png"), ("", "course.png"), ("Figures", "digits.json")):
        console.print(f"{kind:<9} {output / name}", highlight=False)
    console.print(f"The trainings took {seconds:.0f} s.", highlight=False)


def _quick(settings: Settings) -> Settings:
    return replace(
        settings,
        steps=QUICK_STEPS,
        penalties=[replace(each, strengths=each.strengths[QUICK_STRENGTHS]) for each in settings.penalties],
        descent=replace(settings.descent, steps=QUICK_PRUNING),
        search=replace(settings.search, strengths=QUICK_PATH, folds=2),
    )


if __name__ == "__main__":
    main()
