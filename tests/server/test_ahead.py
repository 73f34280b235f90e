"""Answers made ahead: the same ones, the same errors, and no thread that stays."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest
from regularization_server.calls.read_ahead import ALONE, SPARE, ahead

WAIT = 5.0


def numbered(count: int) -> Generator[bytes]:
    """So many answers."""
    return (b"%d" % index for index in range(count))


@pytest.mark.parametrize("count", [0, 1, ALONE, ALONE + 1, ALONE + SPARE + 1, 100])
def test_gives_every_answer_in_order(count: int) -> None:
    """What comes out is what went in."""
    assert list(ahead(numbered(count))) == list(numbered(count))


@pytest.mark.parametrize("good", [0, ALONE, ALONE + 1, 20])
def test_raises_what_the_answers_raise_after_those_before_it(good: int) -> None:
    """An error takes its place among the answers."""

    def answers() -> Generator[bytes]:
        yield from numbered(good)
        raise KeyError("odd")

    given = ahead(answers())
    assert [next(given) for _ in range(good)] == list(numbered(good))
    with pytest.raises(KeyError, match="odd"):
        next(given)


def test_goes_on_while_nothing_is_taken_but_not_far() -> None:
    """Answers are made while one is sent, as many as may wait."""
    made = threading.Semaphore(0)

    def answers() -> Generator[bytes]:
        for answer in numbered(100):
            made.release()
            yield answer

    given = ahead(answers())
    for _ in range(ALONE + 1):
        next(given)
    for _ in range(ALONE + 1 + SPARE):
        assert made.acquire(timeout=WAIT)
    assert not made.acquire(timeout=0.1)
    given.close()


@pytest.mark.parametrize("taken", [0, 1, ALONE, ALONE + 1, 10])
def test_closing_closes_the_answers_and_ends_the_thread(taken: int) -> None:
    """A caller that goes away leaves nothing behind."""
    closed = []

    def answers() -> Generator[bytes]:
        try:
            yield from numbered(100)
        finally:
            closed.append(True)

    before = threading.active_count()
    given = ahead(answers())
    for _ in range(taken):
        next(given)
    given.close()
    assert threading.active_count() == before
    assert closed == ([True] if taken else [])


def test_makes_them_itself_where_there_is_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lack of threads makes it slower, no more."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert list(ahead(numbered(20))) == list(numbered(20))


def test_makes_them_itself_where_there_is_no_memory() -> None:
    """Where no answers may wait, none is made before the last is taken, and no thread is started."""
    made = 0

    def answers() -> Generator[bytes]:
        nonlocal made
        for answer in numbered(20):
            made += 1
            yield answer

    asked: list[int] = []

    def has_no_room(spare: int) -> bool:
        asked.append(spare)
        return False

    given = ahead(answers(), has_no_room)
    before = threading.active_count()
    for taken, answer in enumerate(given, 1):
        assert answer == b"%d" % (taken - 1)
        assert made == taken
        assert threading.active_count() == before
    assert (made, asked) == (20, [SPARE])
