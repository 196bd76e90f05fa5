"""One model ranks the answers of others, blind and in both orders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from llmswitch.errors import LLMSwitchError
from llmswitch.runs.ask import Services
from llmswitch.runs.call import Call
from llmswitch.types import Cost

__all__ = ["Judgement", "Verdict", "judge"]


class Verdict(NamedTuple):
    """One asking: the targets in the `order` in which they were shown, and as they were ranked, best first."""

    order: tuple[str, ...]
    ranking: tuple[str, ...]
    reason: str


class Judgement(NamedTuple):
    """What the judge said in both orders. `ranking` is by mean place, best first; `winner` is None where the two
    verdicts put different answers first. `cost` is of both askings, None where unknown; `error` what ended them.
    """

    judge: str
    request_model: str
    verdicts: tuple[Verdict, ...] = ()
    ranking: tuple[str, ...] = ()
    winner: str | None = None
    cost: Cost | None = None
    error: LLMSwitchError | None = None


async def judge(prompt: str, answers: Mapping[str, str], call: Call, services: Services, seed: int) -> Judgement:
    """Rank `answers` (by target) to `prompt`; never raises for what the judge does wrong."""
    raise NotImplementedError
