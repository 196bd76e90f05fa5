"""What `bench --batch` cannot do, because a batch tells no time: refused before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmswitch.errors import ConfigError
from llmswitch.runs.bench.batched import timed_places
from llmswitch.runs.bench.rules import TIMED, Rule, parse_rules
from llmswitch.suites.model import Suite

if TYPE_CHECKING:
    from llmswitch.cli.bench_setting import Asked

__all__ = ["check_assertions", "check_options"]

#: options of a run that is measured, or under load, and what they are where nobody gave them
_MEASURED = {"warmup": None, "rate": None, "arrival": "constant", "duration": None, "no_pace": False, "slo": None}
#: places that are told
_MOST = 5


def check_options(asked: Asked) -> None:
    """ConfigError for options and rules that need a time, or a load, which nobody offers to a batch."""
    given = [name for name, default in _MEASURED.items() if getattr(asked, name) != default]
    timed = [rule.text for rule in parse_rules(asked.fail_if) if isinstance(rule, Rule) and rule.metric in TIMED]
    if given or timed:
        flags = [f"--{name.replace('_', '-')}" for name in given] + [f"--fail-if {text!r}" for text in timed]
        raise ConfigError(f"--batch tells no time and offers no load: leave out {', '.join(flags)}, or --batch.")


def check_assertions(suite: Suite) -> None:
    """ConfigError where the suite asserts a time."""
    places = timed_places(suite)
    if places:
        more = f" and {len(places) - _MOST} more" if len(places) > _MOST else ""
        raise ConfigError(
            f"--batch tells no time, and the suite asserts one: {', '.join(places[:_MOST])}{more}. Take it out, or "
            "leave out --batch."
        )
