"""What the settings say about keeping a call going, and what they may not say."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from llmswitch.errors import ConfigError
from llmswitch.profiles import load_settings
from llmswitch.runs.policy import Balance, Policy, read_policy
from llmswitch.types import Parameters, Target


def policy(tmp_path: Path, **environ: str) -> Policy:
    return read_policy(load_settings(cwd=tmp_path, environ={"LLMSWITCH_HOME": str(tmp_path), **environ}))


def test_nothing_set_is_two_retries_and_nobody_else(tmp_path: Path) -> None:
    assert policy(tmp_path) == Policy(retries=2)
    assert not policy(tmp_path).budgeted


def test_fallbacks_are_targets_in_their_order(tmp_path: Path) -> None:
    found = policy(tmp_path, LLM_FALLBACK="gemini, openai:gpt-6-luna?temperature=0").fallback
    assert found == (
        Target("gemini", text="gemini"),
        Target("openai", "gpt-6-luna", Parameters(temperature=0.0), "openai:gpt-6-luna?temperature=0"),
    )
    assert policy(tmp_path, LLM_FALLBACK="none").fallback == ()


def test_weights_follow_the_last_equals_sign(tmp_path: Path) -> None:
    found = policy(tmp_path, LLM_BALANCE="weighted:openai?temperature=0=3,azure=0.5").balance
    assert found is not None
    assert [(target.text, weight) for target, weight in found.targets] == [
        ("openai?temperature=0", 3.0),
        ("azure", 0.5),
    ]


@pytest.mark.parametrize("way", ["fastest", "cheapest", "least-busy"])
def test_other_ways_need_no_names_and_take_some(tmp_path: Path, way: str) -> None:
    assert policy(tmp_path, LLM_BALANCE=way).balance == Balance(way)
    named = policy(tmp_path, LLM_BALANCE=f"{way}:openai,azure").balance
    assert named is not None
    assert [target.text for target, _ in named.targets] == ["openai", "azure"]


def test_budgets_are_exact_and_the_lowest_counts(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "p.env").write_text("LLM_BUDGET_DAILY=5\nLLM_BUDGET_MONTHLY=0.10\n")
    environ = {"LLMSWITCH_HOME": str(tmp_path), "LLM_BUDGET_DAILY": "2.50"}
    found = read_policy(load_settings(cwd=tmp_path, environ=environ, profile="p"), max_cost="$0.3")
    assert (found.daily, found.monthly, found.max_cost) == (Decimal("2.50"), Decimal("0.10"), Decimal("0.3"))
    assert found.budgeted


@pytest.mark.parametrize(("text", "seconds"), [("2s", 2.0), ("500ms", 0.5), ("1.5", 1.5), ("0.25 s", 0.25)])
def test_a_hedge_is_a_time(tmp_path: Path, text: str, seconds: float) -> None:
    settings = load_settings(cwd=tmp_path, environ={"LLMSWITCH_HOME": str(tmp_path)})
    assert read_policy(settings, hedge=text).hedge_s == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"LLM_MAX_RETRIES": "-1"}, "LLM_MAX_RETRIES"),
        ({"LLM_MAX_RETRIES": "11"}, "LLM_MAX_RETRIES"),
        ({"LLM_MAX_RETRIES": "two"}, "LLM_MAX_RETRIES"),
        ({"LLM_FALLBACK": "gemini,,openai"}, "LLM_FALLBACK"),
        ({"LLM_FALLBACK": "gemini:"}, "LLM_FALLBACK"),
        ({"LLM_FALLBACK_ON": "bad_request"}, "nothing to fall back on"),
        ({"LLM_FALLBACK_ON": "429"}, "nothing to fall back on"),
        ({"LLM_BALANCE": "quickest"}, "weighted:openai=3,azure=1"),
        ({"LLM_BALANCE": "weighted"}, "names no targets"),
        ({"LLM_BALANCE": "weighted:openai"}, "has no weight"),
        ({"LLM_BALANCE": "weighted:openai=-1"}, "the weight of openai"),
        ({"LLM_BALANCE": "weighted:openai=nan"}, "the weight of openai"),
        ({"LLM_BALANCE": "fastest:"}, "empty place"),
        ({"LLM_BUDGET_DAILY": "-1"}, "LLM_BUDGET_DAILY"),
        ({"LLM_BUDGET_DAILY": "lots"}, "LLM_BUDGET_DAILY"),
        ({"LLM_BUDGET_MONTHLY": "inf"}, "LLM_BUDGET_MONTHLY"),
    ],
)
def test_what_cannot_be_names_its_variable(tmp_path: Path, environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        policy(tmp_path, **environ)


@pytest.mark.parametrize("flag", ["0", "-1s", "soon", "", "nan", "0ms"])
def test_a_hedge_that_is_no_time_names_its_flag(tmp_path: Path, flag: str) -> None:
    settings = load_settings(cwd=tmp_path, environ={"LLMSWITCH_HOME": str(tmp_path)})
    with pytest.raises(ConfigError, match="--hedge"):
        read_policy(settings, hedge=flag)
