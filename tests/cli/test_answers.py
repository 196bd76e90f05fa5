"""The answers of a comparison, whole."""

from __future__ import annotations

import contextlib
import io
import os
import select
from collections.abc import Iterator
from typing import TextIO

import pytest

from llmswitch.cli.answers import Headings, print_answers
from llmswitch.cli.shell import Shell
from llmswitch.cli.writer import Writer
from llmswitch.errors import CallInterruptedError, CallTimeoutError, LLMSwitchError
from llmswitch.runs.compare import Comparison
from llmswitch.runs.sampling import Sample
from llmswitch.types import FinishReason, Response
from tests.cli.shells import on_a_terminal

HOSTILE = "safe \x1b]0;owned\x07text\x1b[2J \u202eend"


def answered(target: str, text: str, *, cached: bool = False, finish: FinishReason = "stop") -> Sample:
    response = Response("anthropic", "asked", text, finish, response_model=f"{target}-model", cached=cached)
    return Sample(target, "anthropic", "asked", response=response)


def failed(target: str, error: LLMSwitchError, partial: str = "") -> Sample:
    error.partial_text = partial
    return Sample(target, "anthropic", "asked", error=error)


def printed(shell: Shell, *samples: Sample) -> str:
    print_answers(shell, Comparison("hi", tuple(sample.target for sample in samples), samples))
    assert isinstance(shell.stdout, io.StringIO)
    return shell.stdout.getvalue()


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 50 columns."""
    monkeypatch.setenv("COLUMNS", "50")


def test_piped_answers_stand_under_plain_headings() -> None:
    text = printed(
        on_a_terminal(),
        answered("claude", "# Paris\n\n**is** it.\n"),
        answered("openai", "Par", finish="length", cached=True),
        answered("local", ""),
        failed("gemini", CallTimeoutError("no whole answer\nwithin 5 s."), "Paris \x1b[31mis"),
        failed("team", CallInterruptedError("interrupted before the answer was whole.")),
    )
    assert text == (
        "== claude (claude-model) ==\n# Paris\n\n**is** it.\n\n"
        "== openai (openai-model, cached, cut at the token limit) ==\nPar\n\n"
        "== local (local-model, (empty answer)) ==\n\n"
        "== gemini (asked, timeout) ==\ntimeout: no whole answer within 5 s.\n"
        "what had come, not the whole answer:\nParis is\n\n"
        "== team (asked, interrupted) ==\ninterrupted before the answer was whole.\n\n"
    )


@pytest.mark.usefixtures("wide")
def test_on_a_wide_terminal_answers_stand_side_by_side_as_markdown() -> None:
    text = printed(
        on_a_terminal(stdout=True),
        answered("claude", "Some **bold** text.\n\n- item\n"),
        failed("openai", CallTimeoutError("too slow."), "half an"),
    )
    rows = [row for row in text.splitlines() if "│" in row]
    assert "claude" in rows[0]
    assert "openai" in rows[0]
    assert "claude-model" in rows[1]
    assert "asked, timeout" in rows[1]
    assert any("\x1b[1mbold" in row and "what had come" not in row for row in rows)
    assert any("too slow." in row for row in rows)
    assert any("half an" in row for row in rows)


@pytest.mark.usefixtures("narrow")
def test_on_a_narrow_terminal_they_are_stacked() -> None:
    text = printed(on_a_terminal(stdout=True), answered("claude", "Paris."), answered("openai", "Lutetia."))
    assert "│" not in text
    places = [text.index(word) for word in ("claude", "Paris.", "openai", "Lutetia.")]
    assert places == sorted(places)


@pytest.mark.usefixtures("wide")
def test_an_answer_too_long_to_draw_is_printed_whole_as_it_is() -> None:
    long = "**word** " * 20_000
    text = printed(on_a_terminal(stdout=True), answered("claude", long), answered("openai", "a *short* one"))
    assert long.rstrip() in text
    assert "│" not in text
    assert "\x1b[3mshort" in text


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("tty", [True, False])
def test_nothing_a_model_wrote_is_obeyed(tty: bool) -> None:
    error = CallTimeoutError(HOSTILE)
    samples = (
        answered(HOSTILE, HOSTILE),
        failed("openai", error, HOSTILE),
        answered("gemini", HOSTILE * 3_000),
    )
    for shown in (samples[:2], samples):
        text = printed(on_a_terminal(stdout=tty), *shown)
        assert "safe text" in text
        for hostile in ("owned", "\x1b]", "\x1b[2J", "\u202e"):
            assert hostile not in text


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(
    "text", ["巴黎是法国的首都。" * 30, "שלום עולם " * 30, "👩\u200d👩\u200d👧 " * 40, "x\u0301" * 200]
)
def test_wide_and_right_to_left_text_leaves_nothing_out(text: str) -> None:
    shown = printed(on_a_terminal(stdout=True), answered("claude", text), answered("openai", "Paris."))
    letters = [letter for letter in text if not letter.isspace()]
    assert [letter for letter in shown if letter in set(letters)] == letters
    for row in shown.splitlines()[3:]:
        if "│" in row:
            assert ("\u200e" in row) == any("\u0590" <= letter <= "\u05ff" for letter in row)


@pytest.fixture
def pipe() -> Iterator[tuple[TextIO, int]]:
    """Both ends; whoever closes the one to read from does it as a reader that leaves."""
    reader, writer = os.pipe()
    with open(writer, "w", encoding="utf-8") as stream:
        yield stream, reader
    with contextlib.suppress(OSError):
        os.close(reader)


ONE, TWO, THREE = answered("claude", "one"), answered("openai", "two"), answered("gemini", "three")


def test_a_pipe_has_each_answer_as_soon_as_those_before_it_are_there(pipe: tuple[TextIO, int]) -> None:
    stream, reader = pipe
    with Writer(stream) as writer:
        headings = Headings(writer)
        for index in range(3):
            headings.started(index)
        headings.text(1, "tw")
        headings.ended(1, TWO)
        writer.wait()
        assert select.select([reader], [], [], 0) == ([], [], [])
        headings.ended(0, ONE)
        writer.wait()
        first = b"== claude (claude-model) ==\none\n\n== openai (openai-model) ==\ntwo\n\n"
        assert os.read(reader, 1000) == first
        headings.finish(Comparison("hi", ("claude", "openai", "gemini"), (ONE, TWO, THREE)))
    assert os.read(reader, 1000) == b"== gemini (gemini-model) ==\nthree\n\n"


def test_a_reader_that_takes_its_time_gets_everything_in_order_and_holds_up_nothing(pipe: tuple[TextIO, int]) -> None:
    stream, reader = pipe
    long = "".join(f"{number} é\n" for number in range(100_000))
    with Writer(stream) as writer:
        headings = Headings(writer)
        headings.ended(0, answered("claude", long))
        headings.ended(1, TWO)
        assert not writer.idle
        text = b""
        while not text.endswith(b"two\n\n"):
            text += os.read(reader, 1 << 16)
        assert text.decode() == (
            f"== claude (claude-model) ==\n{long}\n== openai (openai-model) ==\ntwo\n\n".replace("\n", os.linesep)
        )


def test_a_reader_that_left_is_told_of_at_the_end(pipe: tuple[TextIO, int]) -> None:
    stream, reader = pipe
    os.close(reader)
    with Writer(stream) as writer:
        headings = Headings(writer)
        for index, sample in enumerate((ONE, TWO)):
            headings.ended(index, sample)
        with pytest.raises(BrokenPipeError):
            headings.finish(Comparison("hi", ("claude", "openai"), (ONE, TWO)))
