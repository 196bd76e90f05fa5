from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llmswitch.conversations import Conversations, Turn
from llmswitch.ledger import Caller
from llmswitch.types import Attachment, Message
from tests.cli.command import fill, ledger_of, row, run

_AT = datetime(2026, 11, 22, 9, 30, tzinfo=UTC).timestamp()


def _say(home: Path, name: str, prompt: str, *, at: float = _AT, answer: str = "an answer") -> None:
    files = (Attachment("application/pdf", b"%PDF-1.4", "plan.pdf"),) if prompt == "read this" else ()
    turn = Turn(at, Message("user", prompt, files), answer, "be brief", "claude")
    Conversations(ledger_of(home)).append(name, turn)


def test_no_conversation_yet_is_a_friendly_line_or_an_empty_document(home: Path) -> None:
    done = run(home, "logs", "list")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no conversations yet" in done.stderr
    assert json.loads(run(home, "logs", "list", "--json").stdout) == {
        "schema": "llmswitch/conversations/1",
        "conversations": [],
    }
    assert not home.exists()


def test_the_list_shows_the_newest_first_and_as_many_as_asked(home: Path) -> None:
    _say(home, "aaaa000001", "first " * 50)
    _say(home, "bbbb000002", "second", at=_AT + 60)
    _say(home, "bbbb000002", "third", at=_AT + 120)
    lines = run(home, "logs", "list", zone="XYZ-2").stdout.splitlines()
    assert re.split(r" {2,}", lines[0].strip()) == ["id", "last", "turns", "target", "prompt"]
    assert lines[1].split() == ["bbbb000002", "2026-11-22", "11:32", "2", "claude", "second"]
    assert lines[2].endswith("…")
    assert len(run(home, "logs", "list", "-n", "1").stdout.splitlines()) == 2
    listed = json.loads(run(home, "logs", "list", "--json", "-n", "1").stdout)["conversations"]
    assert listed == [
        {
            "id": "bbbb000002",
            "started_at": "2026-11-22T09:31:00+00:00",
            "updated_at": "2026-11-22T09:32:00+00:00",
            "turns": 2,
            "target": "claude",
            "prompt": "second",
        }
    ]


def test_a_conversation_is_shown_whole_with_model_tokens_and_cost(home: Path) -> None:
    caller = Caller("ask", "claude", conversation_id="aaaa000001")
    fill(home, row(provider="anthropic", model="claude-haiku-5-5", cost="0.0012", tokens=(1200, 34), caller=caller))
    _say(home, "aaaa000001", "read this")
    _say(home, "aaaa000001", "and then?", at=_AT + 60, answer="nothing")
    done = run(home, "logs", "show", "aaaa")
    assert done.returncode == 0
    assert done.stdout == (
        "## System\n\nbe brief\n\n"
        "## You, 2026-11-22 09:30\n\nread this\n\n"
        "[plan.pdf: application/pdf, 8 bytes]\n\n"
        "## claude (claude-haiku-5-5, 1,200 → 34 tokens, $0.001200, 500 ms)\n\nan answer\n\n"
        "## You, 2026-11-22 09:31\n\nand then?\n\n"
        "## claude\n\nnothing\n\n"
    )
    document = json.loads(run(home, "logs", "show", "aaaa", "--json").stdout)
    assert (document["schema"], document["id"]) == ("llmswitch/conversation/1", "aaaa000001")
    assert document["turns"] == [
        {
            "at": "2026-11-22T09:30:00+00:00",
            "target": "claude",
            "system": "be brief",
            "prompt": "read this",
            "attachments": [{"name": "plan.pdf", "media_type": "application/pdf", "bytes": 8}],
            "answer": "an answer",
            "call": {
                "provider": "anthropic",
                "request_model": "claude-haiku-5-5",
                "usage": {"input_tokens": 1200, "output_tokens": 34},
                "cost": {"amount": "0.0012", "currency": "USD", "source": "genai-prices 0.2.3", "exact": True},
                "duration_s": 0.5,
                "cached": False,
            },
        },
        {
            "at": "2026-11-22T09:31:00+00:00",
            "target": "claude",
            "system": "be brief",
            "prompt": "and then?",
            "attachments": [],
            "answer": "nothing",
            "call": None,
        },
    ]


@pytest.mark.parametrize("at", [1e300, -1e300, float("inf"), 253402300799.0])
def test_a_moment_of_no_calendar_is_unknown(home: Path, at: float) -> None:
    _say(home, "aaaa000001", "one", at=at)
    listed = run(home, "logs", "list", zone="XYZ-2")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.splitlines()[1].split() == ["aaaa000001", "–", "1", "claude", "one"]
    document = json.loads(run(home, "logs", "list", "--json", zone="XYZ-2").stdout)
    assert document["conversations"][0]["updated_at"] is None
    assert "## You, –\n" in run(home, "logs", "show", "a", zone="XYZ-2").stdout
    shown = json.loads(run(home, "logs", "show", "a", "--json", zone="XYZ-2").stdout)
    assert shown["turns"][0]["at"] is None


def test_what_a_model_wrote_cannot_steer_the_terminal(home: Path) -> None:
    _say(home, "aaaa000001", "\x1b[31mred\x1b]52;c;aGk=\x07", answer="line\r\n\x9b2Jtwo\x1b[0m\x07")
    for arguments in (("list",), ("list", "--json"), ("show", "a"), ("show", "a", "--json")):
        printed = run(home, "logs", *arguments).stdout
        assert "red" in printed
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", printed)
    assert "line\ntwo\n" in run(home, "logs", "show", "a").stdout


@pytest.mark.parametrize(
    ("typed", "complaint"), [("zz", "logs list"), ("a", "aaaa000002, aaaa000001"), ("", "logs list")]
)
def test_an_id_that_names_none_or_several_exits_2(home: Path, typed: str, complaint: str) -> None:
    _say(home, "aaaa000001", "one")
    _say(home, "aaaa000002", "two")
    done = run(home, "logs", "show", typed)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_prune_forgets_what_is_older_and_says_how_many(home: Path) -> None:
    now = time.time()
    _say(home, "old1", "FORGET-ME", at=now - 91 * 86_400)
    _say(home, "old2", "FORGET-ME", at=now - 90 * 86_400 - 60)
    _say(home, "new1", "keep me", at=now - 89 * 86_400)
    done = run(home, "logs", "prune", "--older-than", "90d")
    assert (done.returncode, done.stdout) == (0, "2 conversations forgotten.\n")
    files = list(ledger_of(home).parent.iterdir())
    assert files
    assert not any(b"FORGET-ME" in file.read_bytes() for file in files)
    assert [c.id for c in Conversations(ledger_of(home)).list(9)] == ["new1"]


@pytest.mark.parametrize("typed", ["90", "d", "-1d", "1.5d", "90 days", "2026-01-01", "1000000w", ""])
def test_a_duration_that_is_none_names_its_flag_and_forgets_nothing(home: Path, typed: str) -> None:
    _say(home, "aaaa000001", "one", at=1.0)
    done = run(home, "logs", "prune", f"--older-than={typed}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--older-than" in done.stderr
    assert Conversations(ledger_of(home)).latest() == "aaaa000001"


def test_prune_without_an_age_forgets_nothing(home: Path) -> None:
    _say(home, "aaaa000001", "one", at=1.0)
    done = run(home, "logs", "prune")
    assert done.returncode == 2
    assert "--older-than" in done.stderr
    assert Conversations(ledger_of(home)).latest() == "aaaa000001"


@pytest.mark.parametrize(("typed", "kept"), [("30m", 1), ("12h", 2), ("8w", 3), ("0d", 0)])
def test_every_unit_means_what_it_says(home: Path, typed: str, kept: int) -> None:
    now = time.time()
    for name, age_s in (("a", 60), ("b", 3600), ("c", 40 * 86_400), ("d", 57 * 86_400)):
        _say(home, name, "x", at=now - age_s)
    run(home, "logs", "prune", "--older-than", typed)
    assert len(Conversations(ledger_of(home)).list(9)) == kept
