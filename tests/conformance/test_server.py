from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from conformance.runner.calls import Direct
from conformance.runner.checks import check
from conformance.runner.vectors import load_all
from tests.conformance.mutants import MUTANTS, Mutant

VECTORS = load_all()
TOPICS = sorted({vector.topic for vector in VECTORS})


@pytest.mark.parametrize("topic", TOPICS)
def test_the_server_answers_as_the_vectors_say(topic: str, caller: Direct) -> None:
    """Messages once they are decoded, and all numbers to the bit where no tolerance is given."""
    wrong = {vector.name: check(vector, caller) for vector in VECTORS if vector.topic == topic}
    assert {name: texts for name, texts in wrong.items() if texts} == {}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "_"))
def test_a_server_that_is_wrong_in_one_thing_is_found_out(
    mutant: Mutant, caller: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the one bit, figure, reason or rule is, a vector of its topic tells."""
    asked = [vector for vector in VECTORS if fnmatchcase(vector.name, mutant.vectors)]
    assert asked
    mutant.change(monkeypatch)
    assert any(check(vector, caller) for vector in asked)
