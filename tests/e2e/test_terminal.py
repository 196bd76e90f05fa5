"""On a terminal: Markdown as it comes, and nothing the model wrote that the terminal would obey."""

from __future__ import annotations

import os
import pty
import subprocess

from tests.e2e.conftest import COMMAND, Command, Mocked


def on_a_terminal(command: Command, arguments: list[str], env: dict[str, str]) -> tuple[int, str]:
    """Exit code and everything that stdout, a terminal of 80 columns, was sent."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(COMMAND), *arguments],
        cwd=command.cwd,
        env=command.environment({"TERM": "xterm-256color", "COLUMNS": "80", **env}),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
    )
    os.close(theirs)
    sent = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # how a terminal says that its other side is closed
            break
        if not piece:
            break
        sent += piece
    process.communicate(timeout=30)
    os.close(ours)
    return process.returncode, sent.decode()


def test_markdown_is_drawn_and_hostile_output_is_not_obeyed(command: Command, openai: Mocked) -> None:
    openai.mock.reply(
        "# Title\n\nSome **bold** \x1b]0;owned\x07text\x1b[2J.\n\n[bank](https://evil.invalid)\n\n[red]markup[/red]\n"
    )
    code, sent = on_a_terminal(command, ["ask", "hi"], openai.env)
    assert code == 0
    assert "\x1b[1mbold" in sent
    assert "owned" not in sent
    assert "\x1b]" not in sent
    assert "\x1b[2J" not in sent
    assert "https://evil.invalid" in sent
    assert "[red]markup[/red]" in sent


def test_no_color_and_a_dumb_terminal_get_plain_text(command: Command, openai: Mocked) -> None:
    openai.mock.reply("Some **bold** text.", times=None)
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        code, sent = on_a_terminal(command, ["ask", "hi"], {**openai.env, **env})
        assert (code, sent) == (0, "Some **bold** text.\r\n")


def test_tables_are_drawn_on_a_terminal_and_plain_in_a_pipe(command: Command, openai: Mocked) -> None:
    command("ask", "-q", "hi", env=openai.env)
    code, sent = on_a_terminal(command, ["cost"], {})
    assert code == 0
    assert "────" in sent
    plain = command("cost").out
    assert "─" not in plain
    assert "openai" in plain
