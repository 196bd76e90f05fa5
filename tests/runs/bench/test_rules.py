"""Rules and SLOs as people type them: what they mean, and that what means nothing is refused with an example."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.errors import ConfigError
from llmswitch.runs.bench.model import Slo
from llmswitch.runs.bench.rules import DEFAULT_BASELINE_RULES, CaseRule, Rule, parse_rules, parse_slo, slo_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p95.duration:+10%", ("duration", 0.95, 1, "share", 0.1)),
        ("p50.ttft:+50ms", ("ttft", 0.5, 1, "change", 0.05)),
        ("p99.itl:+0.5s", ("itl", 0.99, 1, "change", 0.5)),
        ("mean.scheduled > 2.5s", ("scheduled", None, 1, "bound", 2.5)),
        ("p50.tokens_per_s:-15%", ("tokens_per_s", 0.5, -1, "share", 0.15)),
        ("p50.tokens_per_s<30", ("tokens_per_s", 0.5, -1, "bound", 30)),
        ("score:-2pp", ("score", None, -1, "change", 0.02)),
        ("score<0.9", ("score", None, -1, "bound", 0.9)),
        ("pass<95%", ("pass", None, -1, "bound", 0.95)),
        ("errors:+5pp", ("errors", None, 1, "change", 0.05)),
        ("errors>0", ("errors", None, 1, "bound", 0)),
        ("cost:+5%", ("cost", None, 1, "share", 0.05)),
        ("cost>0.02", ("cost", None, 1, "bound", 0.02)),
    ],
)
def test_a_rule_is_read_as_it_is_meant(text: str, expected: tuple[object, ...]) -> None:
    (rule,) = parse_rules([f" {text} "])
    assert isinstance(rule, Rule)
    assert rule.text == text
    assert (rule.metric, rule.q, rule.worse, rule.kind, pytest.approx(rule.limit)) == expected


def test_a_rule_of_cases_counts_and_a_rule_given_twice_is_one() -> None:
    assert parse_rules(["case.pass<4/5", "case.pass<4/5"]) == (CaseRule("case.pass<4/5", 4, 5),)
    assert len(parse_rules(DEFAULT_BASELINE_RULES)) == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no metric"),
        ("p95.duration", "no metric"),
        ("duration:+10%", "p50, p90, p95, p99, mean"),
        ("p97.duration:+10%", "no metric"),
        ("mean.score:-2pp", "write score alone"),
        ("speed:+10%", "no metric 'speed'"),
        ("p95.duration:10%", "starts with '\\+'"),
        ("p95.duration:-10%", "starts with '\\+'"),
        ("score:+2pp", "starts with '-'"),
        ("score:-2%", "not a number with pp"),
        ("score>0.9", "fail on what is good"),
        ("p95.duration<5s", "fail on what is good"),
        ("p95.duration>5", "ms"),
        ("p95.duration>-5s", "no sign"),
        ("score<90", "more than all"),
        ("errors:+5%", "not a number with pp"),
        ("cost:+1e3%", "not a number"),
        ("cost:+٣%", "not a number"),
        ("case.pass<5/4", "5 of 4"),
        ("case.pass<0/5", "0 of 5"),
        ("case.pass>4/5", "no metric"),
    ],
)
def test_what_is_no_rule_is_refused_with_why_and_an_example(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        parse_rules(["cost:+5%", text])
    assert "'p95.duration:+10%'" in caught.value.message
    assert "\n" not in caught.value.message


@given(st.text(max_size=30))
def test_any_text_is_a_rule_or_a_config_error(text: str) -> None:
    for parse in (lambda: parse_rules([text]), lambda: parse_slo(text)):
        with suppress(ConfigError):  # and nothing else
            parse()


def test_a_limit_is_exceeded_by_what_is_worse_and_not_by_itself() -> None:
    score, slow, bound = (parse_rules([text])[0] for text in ("score:-2pp", "p95.duration:+10%", "score<0.9"))
    assert isinstance(score, Rule)
    assert isinstance(slow, Rule)
    assert isinstance(bound, Rule)
    assert not score.exceeds(0.88 - 0.9)  # which floating point makes a little more than 2 pp
    assert score.exceeds(-0.021)
    assert not score.exceeds(0.5)
    assert slow.exceeds(0.11)
    assert not slow.exceeds(-0.5)
    assert bound.exceeds(0.89)
    assert not bound.exceeds(0.9)
    assert (score.show_effect(-0.02), slow.show_effect(0.123), bound.show_effect(0.9)) == ("-2.0 pp", "+12.3 %", "0.9")


def test_an_slo_is_read_and_said_again() -> None:
    assert parse_slo("ttft=800ms, itl=50ms,e2e=5s,good=99.5%") == Slo(0.8, 0.05, 5.0, 0.995)
    assert parse_slo("e2e=5s") == Slo(e2e_s=5.0)
    assert parse_slo("ttft=0.8s,good=0.9").good == 0.9
    assert parse_slo(slo_text(Slo(0.8, 0.05, 5.0, 0.995)).removeprefix("slo:")) == Slo(0.8, 0.05, 5.0, 0.995)


@pytest.mark.parametrize(
    "text", ["", "ttft", "ttft=800", "ttft=0ms", "ttft=-1s", "tpot=3s", "good=95%", "e2e=5s,good=101%", "e2e=1s,e2e=2s"]
)
def test_what_is_no_slo_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="ttft=800ms,itl=50ms,e2e=5s,good=95%"):
        parse_slo(text)
