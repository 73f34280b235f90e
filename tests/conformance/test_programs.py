from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from regularization_server import Server, Settings

from conformance import check_client, check_server
from conformance.runner.report import FAILED, PASSED, UNUSABLE

CLIENT = Path(__file__).parents[2] / "examples" / "conformance_client.py"
SOME = ["--only", "zeros/*", "--only", "errors/[e-f]*/*", "--only", "measured/*/many*"]
ONE = "zeros/threshold"

WRONG = """
import json, sys
for line in sys.stdin.buffer:
    sys.stdin.buffer.read(json.loads(line)["request_bytes"])
    {answer}
    sys.stdout.flush()
"""
ANSWERS = {
    "an_empty_answer": ('print(\'{"code": "OK"}\')', "0 response messages"),
    "no_json": ("print('done')", "the program under test"),
    "fewer_bytes_than_it_says": ('print(\'{"code": 0, "response_bytes": 9}\'); break', "0 of 9 bytes"),
    "bytes_that_are_no_frames": ('print(\'{"code": 0, "response_bytes": 3}\\nabc\', end="")', "frame"),
    "another_status": ("print('{\"code\": 3}')", "INVALID_ARGUMENT"),
    "an_end": ("sys.exit(1)", "ended"),
}


def code_of(program: object, *arguments: str) -> int:
    """The exit code of one of the two programs."""
    with pytest.raises(SystemExit) as ended:
        program.main(list(arguments))  # type: ignore[attr-defined] # a module
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_client_with_nothing_but_the_schema_passes(target: str, capfd: pytest.CaptureFixture[str]) -> None:
    """All that generated code can say: the others are left out."""
    code = code_of(check_client, "--target", target, *SOME, "--", sys.executable, str(CLIENT))
    printed = capfd.readouterr().out
    assert code == PASSED, printed
    assert "left out" in printed


@pytest.mark.parametrize(("answer", "text"), ANSWERS.values(), ids=list(ANSWERS))
def test_whatever_a_client_does_wrong_is_told(
    answer: str, text: str, target: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """No answer, half of one, another one, or an early end."""
    script = tmp_path / "client.py"
    script.write_text(WRONG.format(answer=answer))
    arguments = ["--target", target, "--only", ONE, "--", sys.executable, str(script)]
    assert code_of(check_client, *arguments) == FAILED
    assert text in capfd.readouterr().out


def test_the_server_passes(target: str, capfd: pytest.CaptureFixture[str]) -> None:
    """With a table of the topics."""
    assert code_of(check_server, target, *SOME) == PASSED
    assert "measured" in capfd.readouterr().out


def test_a_server_that_asks_for_a_token_is_shown_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without it nothing passes."""
    token = tmp_path / "token"
    token.write_text("a-token-of-the-operator\n")
    with Server(Settings(listen=("127.0.0.1:0",), token_file=token)) as server:
        arguments = [server.addresses[0], "--only", ONE]
        assert code_of(check_server, *arguments, "--token-file", str(token)) == PASSED
        assert code_of(check_server, *arguments) == FAILED
    assert "UNAUTHENTICATED" in capfd.readouterr().out


def test_an_unexpected_pass_is_an_error(
    target: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A vector that is known to fail must fail."""
    known = tmp_path / "known"
    known.write_text(f"# mended since\n{ONE}  # a comment\n")
    assert code_of(check_server, target, "--only", ONE, "--known-failing", str(known)) == FAILED
    assert f"PASSED {ONE}" in capfd.readouterr().out


def test_a_known_failure_is_none(target: str, tmp_path: Path) -> None:
    """Of vectors whose expected answer is another one."""
    known, folder = tmp_path / "known", tmp_path / "v1"
    source = check_server.__file__
    assert source is not None
    original = Path(source).parent / "v1"
    (folder / "zeros").mkdir(parents=True)
    for ending in (".json", ".req"):
        path = f"{ONE}{ending}"
        (folder / path).write_bytes((original / path).read_bytes())
    (folder / "index.json").write_text(f'{{"vectors": [{{"name": "{ONE}"}}]}}')
    known.write_text(ONE)
    arguments = [target, "--vectors", str(folder)]
    assert code_of(check_server, *arguments) == FAILED
    assert code_of(check_server, *arguments, "--known-failing", str(known)) == PASSED


def test_a_name_of_no_vector_is_told(target: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A list of known failures has no typing mistakes."""
    known = tmp_path / "known"
    known.write_text("zeros/treshold\n")
    assert code_of(check_server, target, "--known-failing", str(known)) == UNUSABLE
    assert "treshold" in capfd.readouterr().err


def test_what_cannot_be_checked_is_told(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """No server, no vectors, no vector of that name, no such program."""
    monkeypatch.setattr(check_server, "SECONDS_TO_CONNECT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert code_of(check_server, f"127.0.0.1:{silent.getsockname()[1]}") == UNUSABLE
    assert code_of(check_server, target, "--vectors", str(tmp_path)) == UNUSABLE
    assert code_of(check_server, target, "--only", "nothing/*") == UNUSABLE
    assert code_of(check_client, "--target", target, "--", str(tmp_path / "none")) == UNUSABLE
    assert "nobody answers" in capfd.readouterr().err
