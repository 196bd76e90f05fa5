"""A `Comparison` computed once: its table, its ratios, and the contract's document `llmswitch/comparison/1`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from statistics import median
from typing import Any, NamedTuple

from llmswitch.reports.answer import cost_document, response_document
from llmswitch.reports.rows import UNKNOWN, Cell, Column, Table, count, money, seconds
from llmswitch.runs.compare import Comparison
from llmswitch.runs.sampling import Sample
from llmswitch.types import Cost, Response

__all__ = ["comparison_document", "comparison_table"]

#: an answer that ended otherwise, a refusal among them, is no rival for being the fastest or the cheapest
_WHOLE = ("stop", "length")


class Measure(NamedTuple):
    """A column that is ranked: how to read it off a response, how to show it, and what to call what is not best."""

    name: str
    title: str
    read: Callable[[Response], float | Decimal | None]
    show: Callable[[Any], str]
    worse: str
    exact: Callable[[Response], bool] = lambda response: True
    more_is_better: bool = False
    #: whether it is a time, which an answer from the cache has none of
    timed: bool = True


def paid(response: Response) -> Cost | None:
    """What the answer cost when it was given: of one from the cache, its first call's cost."""
    return response.original.cost if response.cached and response.original else response.cost


def comparison_table(comparison: Comparison) -> Table:
    """One row a target, in their order. `finish` is the kind of error where a target failed."""
    raise NotImplementedError


def statements(comparison: Comparison) -> tuple[str, ...]:
    """What more than one asking showed, as sentences: which targets differ, by how much, and which cannot be told."""
    raise NotImplementedError


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """The contract's `llmswitch/comparison/1`."""
    raise NotImplementedError
