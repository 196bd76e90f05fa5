"""`llmswitch compare` on a real terminal: while answers come, when it is interrupted, and what is left of it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.cli.command import ledger_of
from tests.e2e.conftest import Command
from tests.e2e.test_terminal import on_a_terminal
from tests.e2e.tmux import Tmux
from tests.servers.vendors import Behaviour, Vendors

MARKDOWN = "# Title\n\nThe capital is **Paris**.\n\n- one\n- two\n"
#: words that do not end in the time of a test
ENDLESS = Behaviour("word " * 1_900, each_s=0.05)
Run = Callable[..., Tmux]


@pytest.fixture
def vendors() -> Iterator[Vendors]:
    """Two SDKs' worth of models, named by how they answer."""
    with Vendors() as server:
        yield server


@pytest.fixture
def run(command: Command, vendors: Vendors, tmp_path: Path) -> Iterator[Run]:
    """Starts `compare` in tmux, on models of OpenAI (`m1`, `m3`, …) and team (`m2`, `m4`, …)."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    running: list[Tmux] = []

    def start(*arguments: str, size: tuple[int, int], models: Mapping[str, Behaviour], **more: str) -> Tmux:
        vendors.behaviours = dict(models)
        targets = [f"{'team' if place % 2 else 'openai'}:{name}" for place, name in enumerate(models)]
        named = [part for target in targets for part in ("-t", target)]
        env = {**vendors.environ, "TERM": "xterm-256color", **more}
        running.append(Tmux(tmp_path, command.environment(env), ["compare", "hi", *named, *arguments], size=size))
        return running[-1]

    yield start
    for terminal in running:
        terminal.__exit__(None, None, None)


def test_without_pythons_buffer_the_terminals_size_is_known_all_the_same(run: Run) -> None:
    models = {"m1": Behaviour("One."), "m2": Behaviour("Two.")}
    terminal = run(size=(200, 50), models=models, PYTHONUNBUFFERED="1")
    rows = terminal.until("exit=0", "One.")
    assert bars(next(row for row in rows if "One." in row)) == [99]


def test_at_80_cells_medians_and_their_reach_leave_room_for_the_targets(run: Run) -> None:
    models = {"m1": Behaviour("One.", first_s=0.02), "m2": Behaviour("Two.", first_s=0.02)}
    terminal = run("--repeats", "2", size=(80, 50), models=models)
    rows = terminal.until("exit=0", "One.", "tokens/s")
    table = rows[next(place for place, row in enumerate(rows) if "tokens/s" in row) :]
    assert any(row.startswith((" openai:m1", "openai:m1")) for row in table)
    assert any(row.startswith((" team:m2", "team:m2")) for row in table)
    assert "finish" in table[0]
    assert "\n".join(table).count("10 in") == 2


def bars(row: str) -> list[int]:
    """The cells at which columns are parted."""
    return [cell_len(row[:place]) for place, character in enumerate(row) if character == "│"]


def test_at_200_cells_four_columns_stream_and_stay_as_markdown(run: Run) -> None:
    slow = Behaviour(MARKDOWN + "word " * 40, first_s=0.2, each_s=0.05)
    models = {"m1": slow, "m2": Behaviour(status=500), "m3": Behaviour(hangs=True), "m4": Behaviour("Brief.")}
    terminal = run("--timeout", "5", size=(200, 50), models=models)
    rows = terminal.until("streaming", "server: ", "waiting", "done", "**Paris**", "~")
    assert len(rows) == 50
    head = next(row for row in rows if "openai:m1" in row)
    assert all(name in head for name in ("team:m2", "openai:m3", "team:m4"))
    assert "first token" in rows[1]
    assert "tokens/s" in rows[1]
    places = {tuple(bars(row)) for row in rows[:49]}
    assert len(places) == 1
    assert len(*places) == 3
    assert "Ctrl-C keeps what is finished" in rows[49]
    terminal.until("exit=0")
    history = terminal.history()
    assert "Ctrl-C keeps" not in history
    assert "streaming" not in history
    # each answer is there once, drawn as Markdown, and the table after them
    assert history.count("The capital is Paris.") == 1
    assert "**" not in history
    assert "timeout: no whole answer within 5 s" in history
    assert history.index("Brief.") < history.index("latency")


def test_at_80_cells_panels_are_stacked(run: Run) -> None:
    models = {f"m{n}": ENDLESS for n in range(1, 9)}
    terminal = run(size=(80, 24), models=models)
    rows = terminal.until("openai:m1 streaming", "team:m8 streaming", "word word")
    assert len(rows) == 24
    heads = [place for place, row in enumerate(rows) if " streaming " in row]
    assert len(heads) == 8
    assert all("word" in rows[place + 1] for place in heads)
    assert not any("│" in row for row in rows)
    terminal.keys("C-c")
    terminal.until("exit=130")
    history = terminal.history()
    places = [history.index(f"{'team' if n % 2 == 0 else 'openai'}:m{n}\nm{n}, interrupted\n") for n in range(1, 9)]
    assert places == sorted(places)


def test_ctrl_c_keeps_what_is_finished_and_marks_the_rest(run: Run) -> None:
    terminal = run(size=(120, 40), models={"m1": Behaviour("Paris it is."), "m2": ENDLESS})
    terminal.until("done", "streaming", "word word")
    terminal.keys("C-c")
    terminal.until("exit=130")
    history = terminal.history()
    assert "Paris it is." in history
    assert "m2, interrupted" in history
    assert "what had come, not the whole answer:" in history
    assert "word word" in history
    assert history.count("^C") <= 1


def test_a_second_size_in_the_middle_leaves_nothing_behind(run: Run) -> None:
    terminal = run(size=(120, 30), models={"m1": ENDLESS, "m2": ENDLESS})
    terminal.until("│ team:m2", "word word")
    terminal.keys("Enter", "Enter", "x")
    terminal.resize(60, 20)
    rows = terminal.until("team:m2 streaming")
    assert len(rows) == 20
    assert sum("m1" in row for row in rows) == sum("m2" in row for row in rows) == 1
    terminal.resize(150, 40)
    rows = terminal.until("│ team:m2")
    assert {tuple(bars(row)) for row in rows[:39]} == {(74,)}
    terminal.keys("C-c")
    terminal.until("exit=130")
    assert terminal.history().count("Ctrl-C keeps") == 0


WIDE = "巴黎是法国的首都。" * 12
HEBREW = "שלום עולם " * 20
COMBINING = "e\u0301a\u0300 " * 60


def test_wide_right_to_left_and_combining_characters_keep_to_a_narrow_column(run: Run) -> None:
    models = {"m1": Behaviour(f"{WIDE}\n\n{HEBREW}\n\n{COMBINING}"), "m2": Behaviour("Paris " * 4, each_s=1.0)}
    terminal = run(size=(80, 40), models=models)
    rows = terminal.until("巴黎", "שלום", "e\u0301", "streaming")
    assert {tuple(bars(row)) for row in rows[:39]} == {(39,)}
    assert "streaming" in rows[0]
    terminal.until("exit=0")
    answers = [row for row in terminal.history().splitlines() if row.count("│") == 1]
    assert {tuple(bars(row)) for row in answers} == {(39,)}
    shown = "".join(row.partition("│")[0] for row in answers).replace("\u200e", "")
    for text in (WIDE, HEBREW, COMBINING):
        assert "".join(text.split()) in "".join(shown.split())


def test_nothing_a_model_wrote_is_obeyed(command: Command, vendors: Vendors) -> None:
    hostile = "safe \x1b]0;owned\x07text \x1b[5;5Hmoved \x1b[31mred \x1b]52;c;b3duZWQ=\x07 \x9b8mhidden \u202eend"
    vendors.behaviours = {
        "m1": Behaviour(hostile, each_s=0.1),
        "m2": Behaviour(hostile + "x" * 120_000, each_s=0.002),
        "m3": Behaviour(hostile, each_s=0.1, cut_after=3),
    }
    for names in (("m1", "m3"), ("m1", "m2")):
        named = [part for name in names for part in ("-t", f"team:{name}")]
        code, sent = on_a_terminal(command, ["compare", "hi", "--no-cache", *named], vendors.environ)
        assert code == 0
        assert "\x1b[?1049h" in sent
        assert sent.count("safe ") >= 4
        for sequence in ("owned", "\x1b]", "\x1b[5;5H", "\x1b[31mred", "b3duZWQ", "\x9b", "8mhidden", "\u202e"):
            assert sequence not in sent


def test_an_answer_of_a_megabyte_is_shown_and_printed_whole(command: Command, vendors: Vendors) -> None:
    line = "".join(chr(ord("a") + place % 26) for place in range(1_000_000))
    vendors.behaviours = {"m1": Behaviour(line), "m2": Behaviour("Paris.")}
    code, sent = on_a_terminal(command, ["compare", "hi", "-t", "team:m1", "-t", "team:m2"], vendors.environ)
    assert code == 0
    assert line in sent
    assert len(sent) < 1_200_000


def test_an_answer_without_a_character_is_said_to_be_empty(run: Run) -> None:
    terminal = run(size=(120, 30), models={"m1": Behaviour(""), "m2": Behaviour("Paris.")})
    terminal.until("exit=0")
    assert "m1, (empty answer)" in terminal.history()


def test_repeats_show_how_far_they_are(run: Run) -> None:
    models = {"m1": Behaviour("Paris.", first_s=0.2), "m2": Behaviour("Lutetia.", first_s=0.2)}
    terminal = run("--repeats", "4", size=(120, 30), models=models)
    terminal.until(" of 8 calls", "━━━")
    terminal.until("exit=0")
    history = terminal.history()
    assert "Paris." in history
    assert "of 8 calls" not in history


@contextlib.contextmanager
def started(
    command: Command,
    vendors: Vendors,
    *models: str,
    make: Callable[[], tuple[int, int]] = os.openpty,
    env: Mapping[str, str] | None = None,
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`compare` on models of team, and where to read what its stdout was sent."""
    named = [part for model in models for part in ("-t", f"team:{model}")]
    ours, theirs = make()
    more = {**vendors.environ, "TERM": "xterm-256color", "COLUMNS": "80", **(env or {})}
    # a group of its own, which a shell would stop and continue
    with command.start(["compare", "hi", "--no-cache", *named], more, stdout=theirs, process_group=0) as process:
        os.close(theirs)
        try:
            yield process, ours
        finally:
            process.kill()
            os.close(ours)


def read_until(descriptor: int, text: bytes) -> bytes:
    sent = b""
    while text not in sent:
        piece = os.read(descriptor, 1 << 16)
        assert piece, f"{text!r} did not come: {sent[-1000:]!r}"
        sent += piece
    return sent


def stops(process: subprocess.Popen[str]) -> bool:
    """Whether the process stops, and does not end."""
    return os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])


def test_the_terminal_is_given_back_when_the_process_is_told_to_end(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"m1": ENDLESS}
    with started(command, vendors, "m1") as (process, ours):
        read_until(ours, b"word word")
        process.send_signal(signal.SIGTERM)
        read_until(ours, b"\x1b[?1049l")
        assert process.wait(30) == -signal.SIGTERM


def test_the_terminal_is_given_back_while_the_process_is_stopped_and_then_drawn_anew(
    command: Command, vendors: Vendors
) -> None:
    vendors.behaviours = {"m1": ENDLESS}
    with started(command, vendors, "m1") as (process, ours):
        read_until(ours, b"word word")
        for _ in range(2):
            process.send_signal(signal.SIGTSTP)
            sent = read_until(ours, b"\x1b[?1049l")
            assert sent.endswith(b"\x1b[?7h\x1b[?25h\x1b[H\x1b[2J\x1b[?1049l")
            assert stops(process)
            assert select.select([ours], [], [], 0)[0] == []
            process.send_signal(signal.SIGCONT)
            sent = read_until(ours, b"Ctrl-C keeps")
            assert sent.startswith(b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J")
            assert b"team:m1" in sent
        process.send_signal(signal.SIGINT)
        read_until(ours, b"interrupted before")
        assert process.wait(30) == 130


@pytest.mark.parametrize(
    ("make", "env"), [(os.pipe, {}), (os.openpty, {"NO_COLOR": "1"})], ids=["a pipe", "a plain terminal"]
)
def test_a_reader_that_waits_makes_no_answer_later(
    command: Command, vendors: Vendors, make: Callable[[], tuple[int, int]], env: Mapping[str, str]
) -> None:
    vendors.behaviours = {"m1": Behaviour("x" * 1_000_000), "m2": Behaviour("Paris it is.", first_s=0.3)}
    with started(command, vendors, "m1", "m2", make=make, env=env) as (process, ours):
        os.read(ours, 1)
        time.sleep(3)
        read_until(ours, b"Paris it is.")
        read_until(ours, b"latency")
        assert process.wait(30) == 0
    assert durations(command)["m2"] < 2


def test_a_stopped_terminal_behind_stderr_makes_no_answer_later(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"m1": Behaviour("Lutetia."), "m2": Behaviour("Paris.", first_s=0.3)}
    ours, theirs = os.openpty()
    termios.tcflow(theirs, termios.TCOOFF)
    targets = ("-t", "team:m1", "-t", "team:m2")
    env = {**vendors.environ, "TERM": "xterm-256color"}
    with command.start(["compare", "hi", "--no-cache", "--json", *targets], env, stderr=theirs) as process:
        ends = time.monotonic() + 20
        while len(vendors.asked) < 2 and time.monotonic() < ends:
            time.sleep(0.01)
        time.sleep(3)
        termios.tcflow(theirs, termios.TCOON)
        os.close(theirs)
        assert process.stdout is not None
        answered = json.load(process.stdout)["results"]
        assert process.wait(30) == 0
    assert b"2 of 2 calls" in os.read(ours, 1 << 16)
    os.close(ours)
    assert all(answer["duration_s"] < 2 for answer in answered)


def durations(command: Command) -> dict[str, float]:
    """Of each model, in seconds, as recorded."""
    with contextlib.closing(sqlite3.connect(ledger_of(command.home))) as ledger:
        return dict(ledger.execute("SELECT request_model, duration_s FROM calls"))


def test_ctrl_c_ends_it_though_the_reader_takes_nothing(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"m1": Behaviour("x" * 1_000_000), "m2": ENDLESS}
    with started(command, vendors, "m1", "m2", make=os.pipe) as (process, ours):
        os.read(ours, 1)
        # the first ends the calls, the second the printing
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_reader_that_left_ends_it_with_141(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"m1": Behaviour("x" * 1_000_000), "m2": Behaviour("Paris.", first_s=0.3)}
    ours, theirs = os.pipe()
    with command.start(["compare", "hi", "-q", "-t", "team:m1", "-t", "team:m2"], vendors.environ, stdout=theirs) as p:
        os.close(theirs)
        os.read(ours, 1)
        os.close(ours)
        assert p.wait(30) == 141
        assert p.stderr is not None
        assert p.stderr.read() == ""
    assert durations(command)["m2"] > 0


def test_a_second_ctrl_c_leaves_the_terminal_clean_too(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"m1": ENDLESS}
    with started(command, vendors, "m1") as (process, ours):
        read_until(ours, b"word word")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        read_until(ours, b"\x1b[?1049l")
        assert process.wait(30) == 130


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((20, 5), ["openai:m1 streami…", "word", "team:m2 streaming…", "word", "0 of 2 calls · Ctrl…"]),
        ((10, 3), ["open… s…", "team… s…", "0 of 2 ca…"]),
    ],
)
def test_a_small_terminal_is_kept_to(run: Run, size: tuple[int, int], shown: list[str]) -> None:
    terminal = run(size=size, models={"m1": ENDLESS, "m2": ENDLESS})
    rows = terminal.until(*shown)
    assert [row.replace(" word", "") for row in rows] == shown
    terminal.keys("C-c")
    terminal.until("exit=130")
