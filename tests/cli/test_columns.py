"""What is drawn while answers come."""

from __future__ import annotations

import asyncio
import fcntl
import functools
import os
import re
import select
import signal
import struct
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.cli.bar import Bar
from llmswitch.cli.cells import cells
from llmswitch.cli.columns import Columns
from llmswitch.cli.screen import Screen
from llmswitch.cli.writer import Writer
from llmswitch.errors import CallInterruptedError, CallTimeoutError, LLMSwitchError
from llmswitch.runs.sampling import Sample
from llmswitch.types import FinishReason, Response, Timing, Usage
from tests.cli.shells import on_a_terminal
from tests.scripted import Clock

COLUMN = r"\x1b\[(\d+)G\x1b\[K"


@functools.cache
def nowhere() -> Writer:
    """Of a view that only tells what it would draw."""
    assert sys.__stdout__ is not None
    return Writer(sys.__stdout__)


def view(
    *targets: str, size: tuple[int, int] = (80, 24), calls: int = 0, judge: str | None = None
) -> tuple[Columns, Clock]:
    clock = Clock()
    calls = calls or len(targets)
    return Columns(nowhere(), targets, calls=calls, judge=judge, size=lambda: size, clock=clock), clock


def picture(columns: Columns) -> list[str]:
    """Its rows as a terminal shows them: every column at its place."""
    shown = []
    for row in columns.picture()[0]:
        first, *rest = re.split(COLUMN, re.sub(r"\x1b\[\d*m", "", row).replace("\u200e", ""))
        for place, part in zip(map(int, rest[::2]), rest[1::2], strict=True):
            assert cells(first) < place, "a column runs into the next one"
            first = first + " " * (place - 1 - cells(first)) + part
        shown.append(first.rstrip())
    return shown


def answered(
    text: str, *, cached: bool = False, finish: FinishReason = "stop", target: str = "claude", tokens: int = 5
) -> Sample:
    usage = Usage(3, tokens, 0, 0, 0)
    response = Response("anthropic", "m", text, finish, usage, timing=Timing(0.25, 0.1), duration_s=0.5, cached=cached)
    return Sample(target, "anthropic", "m", response=response)


def failed(error: LLMSwitchError) -> Sample:
    return Sample("claude", "anthropic", "m", error=error)


def test_two_targets_stand_side_by_side_where_each_has_room() -> None:
    columns, clock = view("claude", "openai:gpt-6-luna")
    assert picture(columns)[0].split() == ["claude", "connecting", "│", "openai:gpt-6-luna", "connecting"]
    assert picture(columns)[-1] == "loading what the targets need"
    columns.started(0)
    columns.started(1)
    clock.now += 0.5
    columns.text(0, "Par")
    clock.now += 1.0
    columns.text(0, "is" * 20)
    rows = picture(columns)
    assert len(rows) == 24
    assert rows[0].split() == ["claude", "streaming", "1.5", "s", "│", "openai:gpt-6-luna", "waiting", "1.5", "s"]
    assert rows[1].split(" │")[0].rstrip() == "first token 500 ms · ~10 tokens/s"
    assert rows[3].startswith("Parisis")
    assert "0 of 2 calls" in rows[-1]
    assert "Ctrl-C keeps what is finished" in rows[-1]


def test_where_columns_would_be_too_narrow_panels_are_stacked() -> None:
    columns, _ = view(*(f"target{n}" for n in range(8)))
    for index in range(8):
        columns.started(index)
        columns.text(index, "".join(f"line {n}\n" for n in range(50)) + f"last of {index}")
    rows = picture(columns)
    assert len(rows) == 24
    heads = [place for place, row in enumerate(rows) if row.startswith("target")]
    assert len(heads) == 8
    assert all(rows[after - 1] == f"last of {index}" for index, after in enumerate([*heads[1:], 23]))
    assert all(cells(row) <= 80 for row in rows)


def test_targets_beyond_the_screen_are_counted() -> None:
    columns, _ = view(*(f"target{n}" for n in range(30)), size=(40, 10))
    rows = picture(columns)
    assert len(rows) == 10
    assert [row.split()[0] for row in rows[:9]] == [f"target{n}" for n in range(9)]
    assert rows[9].startswith("21 more targets")


@pytest.mark.parametrize(
    ("sample", "state", "shown"),
    [
        (answered("Paris."), "done 500 ms", "Paris."),
        (answered("Paris.", cached=True), "cached", "Paris."),
        (answered(""), "done 500 ms", "(empty answer)"),
        (answered("Par", finish="length"), "cut at the token limit", "Par"),
        (failed(CallTimeoutError("no answer within 5 s.")), "timeout", "timeout: no answer within 5 s."),
        (failed(CallInterruptedError("interrupted too early.")), "interrupted", "interrupted too early."),
    ],
)
def test_how_a_call_ended_is_said(sample: Sample, state: str, shown: str) -> None:
    for size in ((80, 10), (30, 10)):
        columns, _ = view("claude", size=size)
        columns.started(0)
        columns.ended(0, sample)
        rows = picture(columns)
        assert shown in rows
        assert state[:6] in " ".join(rows[:2])
        assert "Ctrl-C" not in rows[-1]


def test_at_the_end_the_figures_are_the_vendors_own() -> None:
    columns, clock = view("claude")
    columns.started(0)
    clock.now += 7
    columns.text(0, "Paris and more of it")
    assert "first token 7.00 s" in picture(columns)[1]
    columns.ended(0, answered("Paris and more of it"))
    assert picture(columns)[1] == "first token 250 ms · 40 tokens/s"


def test_an_error_comes_after_the_text_that_came_before_it() -> None:
    columns, _ = view("claude")
    columns.started(0)
    columns.text(0, "Paris is the\n\x1b]0;")
    columns.ended(0, failed(CallTimeoutError("silent.")))
    assert picture(columns)[3:7] == ["Paris is the", "]0;", "", "timeout: silent."]


def test_repeats_show_how_far_it_is_and_the_call_that_runs() -> None:
    columns, clock = view("claude", "openai", calls=4)
    columns.started(1)
    columns.ended(1, answered("first answer"))
    assert "queued" in picture(columns)[0]
    columns.started(1)
    rows = picture(columns)
    assert "waiting 0.0 s" in rows[0]
    assert "first token 250 ms" in rows[1]
    assert "first answer" not in " ".join(rows)
    clock.now += 3
    columns.text(1, "second")
    rows = picture(columns)
    assert "first token 3.00 s" in rows[1]
    assert "second" in rows[3]
    assert rows[-1].startswith("━" * 8 + "─" * 22 + " 1 of 4 calls")


def test_while_the_judge_reads_it_says_so() -> None:
    columns, _ = view("claude", judge="gemini")
    columns.started(0)
    columns.ended(0, answered("Paris."))
    assert picture(columns)[-1] == "judging: gemini ranks the answers…"


def test_what_the_model_wrote_is_not_obeyed_even_cut_in_two() -> None:
    columns, _ = view("claude", "openai")
    for index in (0, 1):
        columns.started(index)
        for piece in "safe \x1b]0;owned\x07text \x1b[2J\x1b[5;5H\x9b31mred\r\x08\u202eend":
            columns.text(index, piece)
    drawn = "".join(columns.picture()[0])
    assert "safe text redend" in drawn
    for hostile in ("owned", "\x1b]", "\x1b[2J", "\x1b[5;5H", "\x9b", "\r", "\x08", "\u202e"):
        assert hostile not in drawn


WORDS = st.text(st.sampled_from("ab 世界\n\t\u0301\u200d\ufe0f👩שם"), max_size=300)


@given(st.lists(WORDS, min_size=1, max_size=4), st.integers(1, 200), st.integers(1, 30))
def test_no_text_and_no_size_breaks_the_picture(texts: list[str], width: int, height: int) -> None:
    columns, _ = view(*texts, size=(width, height))
    for index, text in enumerate(texts):
        columns.started(index)
        columns.text(index, text)
    for index in range(0, len(texts), 2):
        columns.ended(index, answered("Paris."))
    rows = picture(columns)
    assert len(rows) == height
    if width >= 4:
        assert max(map(cells, rows)) <= width


def test_the_last_row_is_cut_to_the_width_and_the_bar_gives_way_first() -> None:
    for width, shown in (
        (20, "6 of 8 calls · Ctrl…"),
        (40, "6 of 8 calls · Ctrl-C keeps what is fin…"),
        (60, "━━━━━━━━━━━──── 6 of 8 calls · Ctrl-C keeps what is finished"),
    ):
        columns, _ = view(*(f"target{n}" for n in range(8)), size=(width, 24))
        for index in range(6):
            columns.started(index)
            columns.ended(index, answered("Paris."))
        assert picture(columns)[-1] == shown
    columns, _ = view(*(f"target{n}" for n in range(8)), size=(20, 5))
    assert picture(columns)[-1] == "4 more targets · lo…"
    columns, _ = view("claude", judge="gemini" * 10, size=(20, 5))
    columns.started(0)
    columns.ended(0, answered("Paris."))
    assert picture(columns)[-1] == "judging: geminigemi…"


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((20, 5), ["openai:gp… waitin…", "Paris", "anthropic… waitin…", "Paris", "0 of 2 calls · Ctrl…"]),
        ((10, 3), ["open… w…", "anth… w…", "0 of 2 ca…"]),
    ],
)
def test_on_a_small_terminal_there_is_still_something_to_see(size: tuple[int, int], shown: list[str]) -> None:
    columns, _ = view("openai:gpt-6-luna", "anthropic:claude-sonnet-4-5", size=size)
    for index in (0, 1):
        columns.started(index)
    before = picture(columns)
    assert before == [row if row != "Paris" else "" for row in shown]
    for index in (0, 1):
        columns.text(index, "Paris")
    assert picture(columns) == [row.replace("waitin…", "stream…").replace("w…", "s…") for row in shown]


def test_a_megabyte_in_one_piece_or_in_many_is_shown_by_its_end() -> None:
    for size in (1_000_000, 50):
        columns, _ = view("claude", "openai")
        columns.started(0)
        text = "word " * 199_999 + "the end"
        for start in range(0, len(text), size):
            columns.text(0, text[start : start + size])
        rows = picture(columns)
        assert any("the end" in row for row in rows)
        assert max(map(cells, rows)) <= 80


def test_only_rows_that_changed_are_drawn_until_all_are_drawn_again() -> None:
    clock = Clock()
    screen = Screen(clock)

    def sent(rows: list[str], size: tuple[int, int] = (80, 2)) -> list[str]:
        return re.findall(r"one|two|three|\x1b\[2J", screen.draw(rows, size))

    assert "\x1b[?1049h" in screen.draw(["one", "two"], (80, 2))
    assert sent(["one", "three"]) == ["three"]
    assert sent(["one", "three"]) == []
    clock.now += 2
    assert sent(["one", "three"]) == ["one", "three"]
    assert sent(["one", "three"], (60, 2)) == ["\x1b[2J", "one", "three"]
    assert screen.leave() == "\x1b[?7h\x1b[?25h\x1b[H\x1b[2J\x1b[?1049l"
    again = screen.draw(["one", "three"], (60, 2))
    assert again.startswith("\x1b[?1049h")
    assert re.findall("one|three", again) == ["one", "three"]


def test_a_terminal_that_drew_nothing_is_left_alone() -> None:
    assert Screen(Clock()).leave() == ""


class Terminal:
    """A real one of a chosen size: `stream` writes to it, `sent` is what it has had; Ctrl-S stops it."""

    def __init__(self, columns: int = 80) -> None:
        self.ours, theirs = os.openpty()
        tty.setraw(theirs)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.stream = open(theirs, "w", encoding="utf-8")  # noqa: SIM115  # closed at the end of `with`
        self._sent = b""

    @property
    def sent(self) -> str:
        while select.select([self.ours], [], [], 0)[0]:
            self._sent += os.read(self.ours, 1 << 16)
        return self._sent.decode()

    def stop(self) -> None:
        termios.tcflow(self.stream.fileno(), termios.TCOOFF)

    def go_on(self) -> None:
        termios.tcflow(self.stream.fileno(), termios.TCOON)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.stream.close()
        os.close(self.ours)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """One of 80 columns."""
    with Terminal() as found:
        yield found


def drawing(writer: Writer) -> Columns:
    return Columns(writer, ["claude"], calls=1, judge=None, size=lambda: (80, 24), clock=Clock())


def test_a_terminal_that_is_gone_disturbs_no_call(terminal: Terminal) -> None:
    async def ask(columns: Columns) -> None:
        async with columns:
            columns.started(0)
            await asyncio.sleep(0.3)
            columns.ended(0, answered("Paris."))

    with Writer(terminal.stream) as writer:
        os.close(terminal.ours)
        terminal.ours = os.open(os.devnull, os.O_RDONLY)
        asyncio.run(ask(drawing(writer)))
    assert writer.failed is not None


def test_it_draws_by_itself_and_takes_everything_back(terminal: Terminal) -> None:
    async def ask(columns: Columns) -> None:
        async with columns:
            columns.started(0)
            columns.text(0, "Paris.")
            while "Paris." not in terminal.sent:  # noqa: ASYNC110  # nothing tells that it was drawn
                await asyncio.sleep(0.01)

    with Writer(terminal.stream) as writer:
        asyncio.run(ask(drawing(writer)))
    assert terminal.sent.endswith("\x1b[?1049l")


def test_a_terminal_that_is_stopped_gets_one_picture_at_a_time_and_holds_up_nothing(terminal: Terminal) -> None:
    async def ask(columns: Columns) -> None:
        async with columns:
            columns.started(0)
            await asyncio.sleep(0.2)
            terminal.stop()
            for number in range(80):
                columns.text(0, f"number {number}\n")
                await asyncio.sleep(0.01)
            terminal.go_on()
            while "number 79" not in terminal.sent:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    with Writer(terminal.stream) as writer:
        asyncio.run(asyncio.wait_for(ask(drawing(writer)), 10))
    # what was drawn at first, when it was stopped, and once it went on: none of what became of it in between
    assert len(re.findall(r"number \d+\x1b\[0m\x1b\[H", terminal.sent)) <= 2


@pytest.mark.parametrize("again", [False, True])
def test_whoever_interrupts_does_not_wait_for_a_terminal_that_is_stuck(terminal: Terminal, again: bool) -> None:
    began = time.monotonic()
    terminal.stop()
    with pytest.raises(KeyboardInterrupt), Writer(terminal.stream) as writer:  # noqa: PT012
        writer.write("Paris.")
        if not again:
            raise KeyboardInterrupt
        threading.Timer(0.1, signal.raise_signal, [signal.SIGINT]).start()
    assert time.monotonic() - began < 5
    assert "Paris." not in terminal.sent
    terminal.go_on()
    writer.wait(5)
    assert terminal.sent == "Paris."


def test_the_bar_is_for_a_terminal_and_gone_at_the_end(terminal: Terminal, tmp_path: Path) -> None:
    with open(tmp_path / "file", "w", encoding="utf-8") as file:
        for stream, quiet in ((terminal.stream, False), (file, False), (terminal.stream, True)):
            before = len(terminal.sent)
            shell = replace(on_a_terminal(quiet=quiet), stderr=stream)
            with Writer(stream) as writer, Bar(shell, writer, calls=2, judge="gemini") as bar:
                bar.started(0)
                bar.text(0, "Paris.")
                bar.ended(0, answered("Paris."))
                bar.ended(0, answered("Paris."))
            sent = terminal.sent[before:]
            drawn = stream is terminal.stream and not quiet
            assert ("1 of 2 calls" in sent and "judging: gemini" in sent) is drawn
            assert "Paris" not in sent
            assert sent.endswith("\r\x1b[K") is drawn
        assert file.tell() == 0


def test_the_bar_keeps_to_one_row() -> None:
    for width in (10, 20, 80):
        with Terminal(width) as terminal:
            shell = replace(on_a_terminal(), stderr=terminal.stream)
            with Writer(terminal.stream) as writer, Bar(shell, writer, calls=2, judge="gemini" * 10) as bar:
                for _ in range(2):
                    bar.started(0)
                    bar.ended(0, answered("Paris."))
            lines = terminal.sent.split("\r\x1b[K")
            assert all(cells(line) <= width for line in lines)
            assert "1 of 2" in " ".join(lines)


def test_a_terminal_that_is_stopped_lets_the_bar_hold_up_nothing(terminal: Terminal) -> None:
    terminal.stop()
    shell = replace(on_a_terminal(), stderr=terminal.stream)
    with Writer(terminal.stream) as writer, Bar(shell, writer, calls=1, judge=None) as bar:
        bar.started(0)
        bar.ended(0, answered("Paris."))
        writer.wait(0.1)
        assert terminal.sent == ""
        terminal.go_on()
    assert "1 of 1 calls" in terminal.sent
