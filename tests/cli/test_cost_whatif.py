"""`llmswitch cost whatif`: repriced by hand, row by row, and joined with what benches found."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from llmswitch.evidence import Evidence, keep_evidence
from llmswitch.ledger import CallRow
from llmswitch.pricing import PriceKey, Prices
from llmswitch.types import Usage
from tests.cli.command import fill, ledger_of, row, run

PRICES = {
    "team:big": {"input": 10, "output": 30, "cache_read": 1, "batch": {"input": 5, "output": 15}},
    "team:small": {"input": "0.1", "output": "0.4"},
}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "prices.json").write_text(json.dumps(PRICES))
    return {
        "LLM_PRICES": str(tmp_path / "prices.json"),
        "LLM_ENDPOINTS": "team",
        "TEAM_BASE_URL": "http://127.0.0.1:9/v1",
    }


def whatif(home: Path, *arguments: str, **environ: str) -> dict[str, Any]:
    done = run(home, "cost", "whatif", *arguments, "--json", **environ)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def sent(usage: Usage, *, model: str = "old", cost: str | None = "1", **changed: Any) -> CallRow:
    made = row(at=time.time() - 3600, provider="team", model=model, cost=cost)
    return made._replace(usage=usage, **changed)


def found(
    target: str, model: str, *, run_id: str = "r1", tokens: tuple[int, int] = (100, 100), passed: int = 96
) -> Evidence:
    return Evidence(
        run_id=run_id,
        path="runs/r1",
        suite="capitals",
        finished_at=time.time() - 60,
        target=target,
        provider="team",
        request_model=model,
        task="",
        cases=20,
        judged=100,
        passed=passed,
        low=passed / 100 - 0.03,
        high=passed / 100 + 0.02,
        duration_p50_s=1.0,
        output_tokens_per_s=50.0,
        time_to_first_token_s=0.2,
        cost=Decimal("0.5"),
        samples=100,
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        counted=100,
    )


def test_traffic_is_repriced_by_kind_of_token_and_batches_stay_batches(home: Path, environ: dict[str, str]) -> None:
    fill(
        home,
        sent(Usage(1_000_000, 100_000, 400_000), cost="7"),
        sent(Usage(1_000_000, 0), cost="3", batch=True),
    )
    document = whatif(home, "-t", "team:big", **environ)
    assert (document["calls"], document["cost"]) == (2, "10")
    (big,) = document["targets"]
    # 600,000 at 10, 400,000 at 1, 100,000 out at 30; and 1,000,000 at the batch's 5
    assert big["cost"] == str(Decimal(6) + Decimal("0.4") + Decimal(3) + Decimal(5))
    assert big["source"] == "LLM_PRICES"
    assert big["measured_share"] == 0


def test_sums_are_what_pricing_call_by_call_gives_context_steps_included(home: Path) -> None:
    random = Random(3)  # noqa: S311  # repeatable, no secret
    usages = []
    for _ in range(200):
        size = random.choice((1_000, 50_000, 199_999, 200_000, 200_001, 450_000))
        read = random.randrange(size)
        usages.append(Usage(size, random.randrange(5_000), read, 0, 0))
    fill(home, *(sent(usage)._replace(provider="anthropic") for usage in usages))
    for target, key in (
        ("gemini:gemini-2.5-pro", PriceKey("gemini", "gemini-2.5-pro", "gemini-2.5-pro", "google")),
        ("claude:claude-sonnet-4-5", PriceKey("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5", "anthropic")),
    ):
        costs = [Prices().cost(usage, key, time.time()) for usage in usages]
        total = sum((cost.amount for cost in costs if cost is not None), Decimal(0))
        (told,) = whatif(home, "-t", target)["targets"]
        assert all(cost is not None for cost in costs)
        assert Decimal(told["cost"]) == pytest.approx(total, abs=Decimal("1e-9"))


def test_failed_cached_lost_and_uncounted_calls_are_not_in_it(home: Path, environ: dict[str, str]) -> None:
    usage = Usage(1_000_000, 0)
    fill(
        home,
        sent(usage),
        sent(usage, error_kind="server"),
        sent(usage, cached=True),
        sent(usage, lost="hedged"),
        sent(Usage()),
    )
    document = whatif(home, "-t", "team:small", **environ)
    assert (document["calls"], document["left_out_calls"]) == (1, 1)
    assert document["targets"][0]["cost"] == "0.1"


def test_another_tokenizer_is_a_band_until_a_bench_asked_both_the_same(home: Path, environ: dict[str, str]) -> None:
    fill(home, sent(Usage(10_000_000, 0)))
    (small,) = whatif(home, "-t", "team:small", **environ)["targets"]
    assert (small["cost"], small["low"], small["high"]) == ("1", "0.8", "1.3")
    keep_evidence(
        ledger_of(home),
        [
            found("old", "old", tokens=(1000, 500)),
            found("small", "small", tokens=(1100, 500)),
            found("other", "other", run_id="r2", tokens=(9, 9)),
        ],
    )
    (small,) = whatif(home, "-t", "team:small", **environ)["targets"]
    assert (small["cost"], small["low"], small["high"], small["measured_share"]) == ("1.1", "1.1", "1.1", 1.0)


def test_the_models_own_traffic_needs_no_band(home: Path, environ: dict[str, str]) -> None:
    fill(home, sent(Usage(10_000_000, 0), model="small", cost="1"))
    (small,) = whatif(home, "-t", "team:small", **environ)["targets"]
    assert (small["cost"], small["low"], small["high"]) == ("1", "1", "1")


def test_the_answer_is_a_sentence_with_both_pass_rates(home: Path, environ: dict[str, str]) -> None:
    fill(home, *(sent(Usage(1_000_000, 0), cost="4") for _ in range(10)))
    keep_evidence(ledger_of(home), [found("old", "old", passed=97), found("small", "small", passed=96)])
    done = run(home, "cost", "whatif", "-t", "team:small", "-t", "team:big", "--since", "30d", **environ)
    assert done.returncode == 0, done.stderr
    assert (
        "same traffic on team:small: $1.0000 instead of $40.0000; pass rate 0.96 [0.93, 0.98] against 0.97 [0.94, 0.99]"
        in done.stdout
    )
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == ["as it was", "team:small", "team:big"]
    assert "−98 %" in lines[2]
    assert "+150 %" in lines[3]
    assert "capitals, " in lines[2]


def test_what_was_paid_is_at_least_where_a_price_is_unknown_and_no_change_is_told(
    home: Path, environ: dict[str, str]
) -> None:
    fill(home, sent(Usage(1_000_000, 0), cost="4"), sent(Usage(1_000_000, 0), cost=None))
    done = run(home, "cost", "whatif", "-t", "team:small", **environ)
    assert "at least $4" in done.stdout
    assert "no change can be told" in done.stdout
    assert "%" not in done.stdout.splitlines()[2]


def test_nothing_to_price_and_nobody_to_price_it_on_are_told(home: Path, environ: dict[str, str]) -> None:
    done = run(home, "cost", "whatif", "-t", "team:small", **environ)
    assert (done.returncode, done.stdout) == (0, "")
    assert "no answered calls" in done.stderr
    assert run(home, "cost", "whatif", **environ).returncode == 2
    wrong = run(home, "cost", "whatif", "-t", "gtp-4o", **environ)
    assert wrong.returncode == 2
    assert "gpt-4o" in wrong.stderr
