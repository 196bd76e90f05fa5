"""`llmswitch compare` on a real terminal: while answers come, when it is interrupted, and what is left of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.e2e.conftest import COMMAND, Command
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

    def start(*arguments: str, size: tuple[int, int], models: Mapping[str, Behaviour]) -> Tmux:
        vendors.behaviours = dict(models)
        targets = [f"{'team' if place % 2 else 'openai'}:{name}" for place, name in enumerate(models)]
        named = [part for target in targets for part in ("-t", target)]
        env = {**vendors.environ, "TERM": "xterm-256color"}
        running.append(Tmux(tmp_path, command.environment(env), ["compare", "hi", *named, *arguments], size=size))
        return running[-1]

    yield start
    for terminal in running:
        terminal.__exit__(None, None, None)


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


def test_the_terminal_is_given_back_when_the_process_is_told_to_end(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"m1": ENDLESS}
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [str(COMMAND), "compare", "hi", "-t", "team:m1", "-q"],
        cwd=command.cwd,
        env=command.environment({**vendors.environ, "TERM": "xterm-256color", "COLUMNS": "80"}),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(theirs)
        sent = b""
        while b"word word" not in sent:
            sent += os.read(ours, 1 << 16)
        process.send_signal(signal.SIGTERM)
        while not sent.endswith(b"\x1b[?1049l"):
            sent += os.read(ours, 1 << 16)
        assert process.wait(30) == -signal.SIGTERM
    os.close(ours)
