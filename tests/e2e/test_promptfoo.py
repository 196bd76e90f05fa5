"""Suites of ours, unchanged, through promptfoo and through `llmswitch bench`: the same questions, the same verdicts."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import KEY, Command
from tests.e2e.promptfoo.echo import echo
from tests.e2e.promptfoo.oracle import VERSION, Graded, Promptfoo, missing
from tests.servers.recorder import Recorder

_FOLDER = Path(__file__).parent / "promptfoo" / "suites"
_SUITES = sorted(path for path in _FOLDER.iterdir() if path.is_file())


@pytest.fixture(scope="session")
def promptfoo(tmp_path_factory: pytest.TempPathFactory) -> Promptfoo:
    """promptfoo, installed once; LLMSWITCH_TEST_PROMPTFOO is a folder that keeps it between runs."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    kept = os.environ.get("LLMSWITCH_TEST_PROMPTFOO")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    installed = Promptfoo(Path(kept) if kept else shared / f"promptfoo-{VERSION}", tmp_path_factory.mktemp("promptfoo"))
    installed.install()
    return installed


@pytest.fixture
def server() -> Iterator[Recorder]:
    with echo() as running:
        yield running


def _environ(server: Recorder) -> dict[str, str]:
    return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{server.url}/v1"}


def _ours(command: Command, suite: Path, out: Path, environ: Mapping[str, str]) -> list[Graded]:
    done = command("bench", str(suite), "-o", str(out), "--concurrency", "8", env=environ, timeout=120)
    # a gate that failed is a run that was made
    assert done.code in (0, 3), f"{suite.name}: {done.err}"
    (samples,) = out.glob("*/samples.jsonl")
    return [_row(json.loads(line)) for line in samples.read_text().splitlines()]


def _row(row: Mapping[str, Any]) -> Graded:
    asserted = () if row["pass"] is None else tuple((a["type"], a["pass"], a["score"]) for a in row["assertions"])
    return Graded(row["target"], row["prompt"], str(row["text"]), row["pass"], row["score"], asserted)


def _prompt(text: str) -> str:
    """A chat without the blanks of its JSON, which are not sent."""
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except ValueError:
        return text


def _key(row: Graded) -> tuple[object, ...]:
    asserted = [(kind, passed, round(score, 4)) for kind, passed, score in row.asserted]
    return row.target, row.prompt, row.text, str(row.passed), round(row.score or 0, 4), asserted


def _ordered(rows: list[Graded]) -> list[Graded]:
    """Without an order of their own, as a folder's files have none; a target's name is its vendor and model."""
    named = [row._replace(target=row.target.replace(":chat:", ":"), prompt=_prompt(row.prompt)) for row in rows]
    return sorted(named, key=_key)


def _same(theirs: Graded | None, ours: Graded | None) -> bool:
    if theirs is None or ours is None or theirs[:4] != ours[:4] or len(theirs.asserted) != len(ours.asserted):
        return False
    scores = [(theirs.score or 0.0, ours.score or 0.0)]
    for one, other in zip(theirs.asserted, ours.asserted, strict=True):
        if one[:2] != other[:2]:
            return False
        scores.append((one[2], other[2]))
    return all(math.isclose(a, b, rel_tol=0, abs_tol=1e-6) for a, b in scores)


def test_suites_of_ours_get_the_verdicts_that_promptfoo_gives(
    promptfoo: Promptfoo, command: Command, server: Recorder, tmp_path: Path
) -> None:
    environ = _environ(server)
    with ThreadPoolExecutor(2) as pool:
        theirs = list(pool.map(lambda suite: promptfoo.graded(suite, environ), _SUITES))
        ours = list(pool.map(lambda suite: _ours(command, suite, tmp_path / suite.name, environ), _SUITES))
    different = [
        f"{suite.name}:\n  promptfoo {one}\n  llmswitch {other}"
        for suite, found, row in zip(_SUITES, theirs, ours, strict=True)
        for one, other in zip_longest(_ordered(found), _ordered(row))
        if not _same(one, other)
    ]
    assert not different, f"{len(different)} differ\n" + "\n".join(different[:20])
    assert sum(map(len, theirs)) > 500, "the suites have shrunk: nothing is left to compare"


def test_promptfoo_refuses_a_suite_with_our_own_targets_for_that_line_alone(
    promptfoo: Promptfoo, command: Command, server: Recorder, tmp_path: Path
) -> None:
    suite = tmp_path / "suite.json"
    suite.write_text('{"prompts": "Say: {{x}}", "providers": "claude", "tests": [{"vars": {"x": "a"}}]}')
    ours = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_MODEL": "claude-sonnet-4-5"}
    checked = command("bench", "check", str(suite), env=ours)
    assert checked.code == 0, checked.err
    refused = promptfoo.run(suite, _environ(server))
    assert refused.returncode == 1
    # as it says of nothing else in our suites
    assert "Could not identify provider: claude" in refused.stderr
