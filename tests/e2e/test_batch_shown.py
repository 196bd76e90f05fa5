"""The whole of it: 5,000 prompts over three vendors, the command killed again and again, every answer there once."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections import Counter
from decimal import Decimal

import pytest

from tests.e2e.conftest import Command
from tests.servers.batch_vendors import BatchBehaviour, BatchVendors, answer_to

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no SIGKILL")

COUNT, KILLS = 5_000, 10
VENDORS = ("openai", "anthropic", "gemini")


def killed(command: Command, arguments: list[str], env: dict[str, str], after_s: float) -> bool:
    """Run it and kill it after so many seconds; false where it had come to its end."""
    with command.start(arguments, env) as process:
        try:
            _, told = process.communicate(timeout=after_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
        assert process.returncode == 0, told
        return False


def test_5000_prompts_over_three_vendors_killed_and_resumed(command: Command) -> None:
    prompts = [f"question {number}" for number in range(COUNT)]
    (command.cwd / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in prompts))
    targets = [part for provider in VENDORS for part in ("-t", provider)]
    submit = ["batch", "submit", "prompts.txt", *targets, "--job-lines", "250", "--yes"]
    collect = ["batch", "collect", "--wait", "--poll", "0.2", "-o", "out.jsonl"]
    moments = random.Random()  # noqa: S311  # moments, and no secret
    with BatchVendors(BatchBehaviour(seconds=0.5)) as server:
        env = {**server.environ, "LLM_BUDGET_DAILY": "500", "LLM_TIMEOUT": "60"}
        kills = Counter[str]()
        while kills["submit"] < KILLS // 2:
            if not killed(command, submit, env, moments.uniform(0.3, 4)):
                break
            kills["submit"] += 1
        if kills["submit"] == KILLS // 2:
            done = command(*submit, env=env, timeout=120)
            assert done.code == 0, done.err
        while sum(kills.values()) < KILLS:
            if not killed(command, collect, env, moments.uniform(0.3, 4)):
                (command.cwd / "out.jsonl").unlink()
            kills["collect"] += 1
        done = command(*collect, env=env, timeout=120)
        assert done.code == 0, done.err
        live = [
            command("ask", "-t", one, prompts[place], "--no-cache", "--json", env=env).document
            for place, one in enumerate(VENDORS)
        ]
        report = command("cost", "report", "--by", "provider", "--json").document
        budget = command("cost", "budget", "--json", env=env).document
        asked = Counter(prompt for job in server.jobs for _, prompt in job.requests)
    rows = [json.loads(line) for line in (command.cwd / "out.jsonl").read_text().splitlines()]
    assert [row["line"] for row in rows] == list(range(1, COUNT + 1))
    assert [row["text"] for row in rows] == [answer_to(prompt) for prompt in prompts]
    assert asked == Counter(prompts), "each is asked once"
    for row, one in zip(rows, live, strict=False):
        assert Decimal(row["cost"]["amount"]) * 2 == Decimal(one["cost"]["amount"])
    total = sum((Decimal(row["cost"]["amount"]) for row in rows), Decimal(0))
    alone = sum((Decimal(one["cost"]["amount"]) for one in live), Decimal(0))
    told = report["total"]
    assert (told["calls"], told["errors"]) == (COUNT + len(live), 0)
    assert Decimal(told["cost"]["amount"]) == total + alone
    assert Decimal(told["saved_by_batch"]) == total, "as much again is what they would have cost one by one"
    assert (Decimal(budget["day"]["spent"]), Decimal(budget["day"]["reserved"])) == (total + alone, Decimal(0))
