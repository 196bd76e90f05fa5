"""Grading answers while others are awaited: at once where that takes no time, else in a process, or by a model."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple

from llmswitch.assertions import find
from llmswitch.assertions.base import Answer, Assertion, GradingError, Verdict
from llmswitch.assertions.combine import combine
from llmswitch.assertions.grade import failed, fold, judged, leaves
from llmswitch.assertions.model_graded import Question, question, verdicts
from llmswitch.assertions.process import GradingProcess, Job
from llmswitch.documents import cost_document
from llmswitch.errors import BudgetError, ConfigError, LLMSwitchError
from llmswitch.runs.ask import Asking
from llmswitch.runs.bench.model import Key, SampleRow
from llmswitch.runs.bench.room import Room
from llmswitch.runs.call import Call
from llmswitch.runs.route import Route
from llmswitch.suites.model import Case
from llmswitch.suites.templates import Renderer, RenderError
from llmswitch.types import Cost, Response

__all__ = ["Graders", "Grading"]

#: questions to judges at a time: they are asked beside what is measured
_AT_ONCE = 4


class Grading(NamedTuple):
    """Who grades: the judges' calls by the target that an assertion names, None for those that name nobody.

    Of `environ`, a process that grades is given what Python needs and no more.
    """

    judges: Mapping[str | None, Call]
    environ: Mapping[str, str]
    allow_code: bool = False


class _Bill:
    """What the judges of one sample cost."""

    def __init__(self) -> None:
        self._costs: list[Cost | None] = []

    def add(self, response: Response) -> None:
        """One more reply."""
        self._costs.append(response.cost)

    def document(self) -> dict[str, Any] | None:
        """The sum; None where no judge was asked, or where what one cost is unknown."""
        known = [cost for cost in self._costs if cost is not None]
        if not known or len(known) < len(self._costs):
            return None
        total = sum((cost.amount for cost in known), Decimal(0))
        sources = " + ".join(dict.fromkeys(cost.source for cost in known))
        return cost_document(Cost(total, sources, all(cost.exact for cost in known)))


class _Peers:
    """The answers to one case in one round, of all the targets that it is for, which one judge is to compare."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.missing = set(labels)
        self.rows: dict[str, SampleRow] = {}
        self.complete = asyncio.Event()
        #: what the judge said, by the number of the assertion among the case's leaves: target -> verdict
        self.judged: dict[int, asyncio.Task[Mapping[str, Verdict]]] = {}

    def take(self, label: str, row: SampleRow | None) -> None:
        """An answer came, or none will."""
        if row is not None and row.answered:
            self.rows[label] = row
        self.missing.discard(label)
        if not self.missing:
            self.complete.set()


class Graders:
    """For one sitting of a run and its event loop."""

    def __init__(self, grading: Grading, asking: Asking, room: Room, *, labels: Sequence[str]) -> None:
        self._grading, self._asking, self._room, self._labels = grading, asking, room, labels
        self._process = GradingProcess(environ=grading.environ, allow_code=grading.allow_code)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._renderer = Renderer()
        self._peers: dict[tuple[str, int], _Peers] = {}
        #: answers of earlier sittings that may be somebody's peers
        self._earlier: dict[Key, SampleRow] = {}

    def takes_time(self, case: Case) -> bool:
        """Whether grading an answer may take longer than a moment: it is then kept on disk first."""
        return any(not _row(leaf).quick for leaf in leaves(case.assertions))

    def remember(self, row: SampleRow) -> None:
        """An answer of an earlier sitting, to a case of which not all answers are graded."""
        self._earlier[row.key] = row

    def skipped(self, case: Case, key: Key) -> None:
        """A sample that is on disk since an earlier sitting: others may be compared with it."""
        if _compares(case):
            self._peers_of(case, key[2]).take(key[1], self._earlier.get(key))

    def arrived(self, case: Case, row: SampleRow) -> None:
        """An answer came, or a failure, which others may be compared with: before any of them is `graded`."""
        if _compares(case):
            self._peers_of(case, row.repeat).take(row.target, row)

    def no_more(self) -> None:
        """Nothing will arrive any more: what there is of a case is compared."""
        for peers in self._peers.values():
            peers.complete.set()

    async def graded(self, case: Case, row: SampleRow) -> SampleRow:
        """The row with its grade; a call that failed has none. Raises BudgetError, ConfigError where a judge cannot be
        asked at all, and GradingError where no process can be started."""
        if not row.answered:
            return row
        found, bill = leaves(case.assertions), _Bill()
        about = _answer(row)
        heavy = [leaf for leaf in found if not _row(leaf).quick and not _row(leaf).graded]
        made = dict(zip(map(id, heavy), await self._process.grade(Job(heavy, about)) if heavy else (), strict=True))
        judging = [
            self._compared(case, place, leaf, row, bill) if _row(leaf).compares else self._judged(leaf, about, bill)
            for place, leaf in enumerate(found)
            if _row(leaf).graded
        ]
        replies = iter(await asyncio.gather(*judging))
        said = [
            next(replies) if _row(leaf).graded else made[id(leaf)] if id(leaf) in made else judged(leaf, about)
            for leaf in found
        ]
        return _with_grade(row, case, fold(case.assertions, said), bill)

    async def aclose(self) -> None:
        """End what runs."""
        await self._process.aclose()

    def _peers_of(self, case: Case, repeat: int) -> _Peers:
        key = (case.id, repeat)
        if key not in self._peers:
            self._peers[key] = _Peers(
                [label for label in self._labels if case.targets is None or label in case.targets]
            )
        return self._peers[key]

    async def _judged(self, leaf: Assertion, about: Answer, bill: _Bill) -> Verdict:
        """What a model says of one answer."""
        return (await self._said(leaf, [about], bill))[0]

    async def _compared(self, case: Case, place: int, leaf: Assertion, row: SampleRow, bill: _Bill) -> Verdict:
        """What a model says of this answer among all of its case: asked once, by whoever comes first."""
        peers = self._peers_of(case, row.repeat)
        await peers.complete.wait()
        if place not in peers.judged:
            peers.judged[place] = asyncio.create_task(self._comparison(leaf, peers, bill))
        said = await asyncio.shield(peers.judged[place])
        peers.rows.pop(row.target, None)
        if not peers.rows:
            self._peers.pop((case.id, row.repeat), None)
        return said[row.target]

    async def _comparison(self, leaf: Assertion, peers: _Peers, bill: _Bill) -> Mapping[str, Verdict]:
        # by lot, and the same one each time: in the order in which they came, the fastest would always stand first
        rows = {row.target: row for row in sorted(peers.rows.values(), key=_lot)}
        said = await self._said(leaf, [_answer(row) for row in rows.values()], bill)
        return dict(zip(rows, said, strict=True))

    async def _said(self, leaf: Assertion, answers: Sequence[Answer], bill: _Bill) -> list[Verdict]:
        """A verdict on each answer; one that could not be had is an error, but for what ends the whole run."""
        try:
            asked = question(leaf, answers, self._render)
            call = self._call(leaf, asked)
            async with self._turns:
                response = await self._room.ask(Route((call,)), self._asking)
                said = verdicts(leaf, asked, response.text)
                if response.cached and any(verdict.error for verdict in said):
                    # nonsense would be nonsense for as long as it is kept
                    fresh = self._asking._replace(services=self._asking.services._replace(refresh=True))
                    response = await self._room.ask(Route((call,)), fresh)
                    said = verdicts(leaf, asked, response.text)
            bill.add(response)
        except (BudgetError, ConfigError):
            raise
        except (LLMSwitchError, RenderError) as error:
            return [failed(leaf, f"the judge gave no verdict: {error}")] * len(answers)
        return said

    def _call(self, leaf: Assertion, asked: Question) -> Call:
        call = self._grading.judges.get(leaf.judge)
        if call is None:
            raise GradingError(f"nobody is there to grade {leaf.name}: name a judge with --judge TARGET.")
        chat = asked.chat
        system = chat.system if chat.system is not None else call.request.system
        return call._replace(request=replace(call.request, messages=chat.messages, system=system, restarts=True))

    def _render(self, template: str, variables: Mapping[str, Any]) -> str:
        return self._renderer.text(template, variables, {})


def _row(leaf: Assertion) -> Any:
    return find(leaf.type)


def _compares(case: Case) -> bool:
    return any(_row(leaf).compares for leaf in leaves(case.assertions))


def _lot(row: SampleRow) -> bytes:
    return hashlib.sha256(f"{row.case}\0{row.repeat}\0{row.target}".encode("utf-8", "backslashreplace")).digest()


def _answer(row: SampleRow) -> Answer:
    return Answer(
        text=row.text or "",
        prompt=row.prompt,
        vars=row.vars,
        finish_reason=row.finish_reason,
        duration_s=row.duration_s,
        cost=None if row.cost is None else Decimal(row.cost["amount"]),
    )


def _with_grade(row: SampleRow, case: Case, said: list[Verdict], bill: _Bill) -> SampleRow:
    grade = combine(said, case.threshold)
    return replace(
        row,
        passed=grade.passed,
        score=grade.score,
        assertions=tuple(_told(verdict) for verdict in said),
        judge_cost=bill.document(),
    )


def _told(verdict: Verdict) -> dict[str, Any]:
    known = verdict.error is None
    return {
        "type": verdict.type,
        "pass": verdict.passed if known else None,
        "score": verdict.score if known else None,
        "reason": verdict.reason,
        "weight": verdict.weight,
        "metric": verdict.metric,
    }
