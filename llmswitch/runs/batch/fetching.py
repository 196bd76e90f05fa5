"""What came of a job: looked after at its vendor, brought home line by line, put on record."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from llmswitch.answers import decode, encode
from llmswitch.batches import BatchJob
from llmswitch.batchlines import Outcome, Settled
from llmswitch.cache import STORED, as_cached
from llmswitch.errors import (
    ERRORS_BY_KIND,
    CallInterruptedError,
    CallTimeoutError,
    LLMSwitchError,
    NotFoundError,
    ProviderError,
    ServerError,
    StorageError,
    TruncatedError,
)
from llmswitch.ledger import Caller, CallRow, call_row
from llmswitch.pricing import PriceKey
from llmswitch.providers.batching import JobAnswer, JobState
from llmswitch.runs.batch.desk import Desk
from llmswitch.runs.batch.sending import error_text
from llmswitch.text import one_line
from llmswitch.types import Cost, Response

__all__ = ["fetch", "kept_error", "look", "record"]

#: lines that are stored at once, and rows that are put on record at once: another process waits for so long
_MANY, _ROWS = 200, 2000
#: a line's number as it was sent, and no other writing of it: a vendor's file may hold anything
_NUMBER = re.compile("[1-9][0-9]{0,17}")

#: how a job ended -> what that means for a line that its vendor says nothing of
_WHY: Mapping[str, tuple[type[LLMSwitchError], str]] = {
    "expired": (CallTimeoutError, "the batch expired before {provider} came to this line."),
    "cancelled": (CallInterruptedError, "the batch was cancelled before this line was answered."),
    "failed": (ServerError, "{provider} could not run the batch: {said}"),
}


async def look(desk: Desk, job: BatchJob) -> BatchJob:
    """How a job that was sent is by now; returns it as noted. Raises a ProviderError or a ConfigError: NotFoundError
    where the vendor does not know it. That may pass, so nothing is given up for it here.
    """
    batcher, vendor_id = desk.batcher(job), job.vendor_id or ""
    try:
        state = await desk.tried(lambda attempt: batcher.look(vendor_id), f"looking at {job.id}")
    except NotFoundError as error:
        error.message = (
            f"{job.provider} says that it knows no job {one_line(vendor_id, 80)}. Where that is final, "
            f"'llmswitch batch retry {job.batch_id}' sends its lines again, and "
            f"'llmswitch batch cancel {job.batch_id}' gives them up."
        )
        raise
    desk.at("looked at it")
    job = desk.put(_now(desk, job, state))
    desk.at("noted how it is")
    return job


def _now(desk: Desk, job: BatchJob, state: JobState) -> BatchJob:
    job = job._replace(
        done=state.done,
        failed=state.failed,
        expires_at=state.expires_at or job.expires_at,
        outcome=state.status if state.ended or state.status == "cancelling" else None,
        said=state.said,
    )
    return job._replace(state="ended", ended_at=state.ended_at or desk.services.wall()) if state.ended else job


async def fetch(desk: Desk, job: BatchJob) -> BatchJob:
    """The answers of a job that has ended, stored with its lines; returns it as noted.

    Raises a ProviderError where they cannot be had now: TruncatedError and MalformedError where the vendor's file does
    not hold them all, NotFoundError where there is none. What came by then is stored.
    """
    try:
        ours, strange = await desk.tried(lambda attempt: _stored(desk, job), f"fetching the answers of {job.id}")
    except NotFoundError as error:
        error.message = (
            f"{job.provider} says that it has no answers of {job.id}. Where that is final, 'llmswitch batch retry "
            f"{job.batch_id}' sends its lines again."
        )
        raise
    if strange:
        desk.watcher.told(f"{job.id}: {strange:,} answers in the vendor's file are to no question of it; left out")
    if strange and not ours and not job.certain:  # found by time and size, and somebody else's
        return desk.put(job._replace(state="sending", vendor_id=None, certain=True, outcome=None, ended_at=None))
    desk.lines.fail_open(job.number, error_text(_unanswered(job)))
    desk.at("stored its answers")
    job = desk.put(job._replace(state="stored"))
    desk.at("noted that they are stored")
    return job


async def _stored(desk: Desk, job: BatchJob) -> tuple[int, int]:
    """How many answers were to questions of ours, and how many to others."""
    prefix = f"{desk.batch.id}-"
    answers = desk.batcher(job).answers(job.vendor_id or "", job.request_model)
    found: list[Settled] = []
    ours = every = 0
    try:
        async for answer in answers:
            every += 1
            number = answer.custom_id.removeprefix(prefix)
            if not answer.custom_id.startswith(prefix) or not _NUMBER.fullmatch(number):
                continue
            found.append(_kept(desk, job, int(number), answer))
            if len(found) >= _MANY:
                ours += desk.lines.settle(job.number, found)
                found.clear()
                desk.at("stored some answers")
    except ProviderError:  # a file that breaks off: what came of it was paid for
        desk.lines.settle(job.number, found)
        raise
    ours += desk.lines.settle(job.number, found)
    return ours, every - ours


def _kept(desk: Desk, job: BatchJob, number: int, answer: JobAnswer) -> Settled:
    """An answer, or an error, as it is kept with its line."""
    if answer.response is None:
        error = answer.error or ServerError(f"{job.provider} gave neither answer nor error.", provider=job.provider)
        return Settled(number, error=error_text(error))
    took = max(0.0, (job.ended_at or 0.0) - (job.sent_at or 0.0))
    response = replace(answer.response, duration_s=took)
    return Settled(number, encode(replace(response, cost=_cost(desk, job, response, batch=True))))


def _cost(desk: Desk, job: BatchJob, response: Response, *, batch: bool) -> Cost | None:
    endpoint = desk.call(job).endpoint
    key = PriceKey(
        endpoint.provider,
        response.request_model,
        response.response_model,
        endpoint.price_provider,
        endpoint.price_model,
        batch,
        response.service_tier if batch else None,
    )
    return desk.services.prices.cost(response.usage, key, job.made_at)


def _unanswered(job: BatchJob) -> LLMSwitchError:
    """Why the vendor says nothing of a line."""
    kind, why = _WHY.get(job.outcome or "", (TruncatedError, "{provider} says nothing of this line in its results."))
    said = job.said or "it did not say why."
    return kind(why.format(provider=job.provider, said=said), provider=job.provider, request_model=job.request_model)


def record(desk: Desk, job: BatchJob) -> BatchJob:
    """A job whose lines all have what came of them, on record and in the cache, each once; returns it as noted."""
    rows: list[CallRow] = []
    for outcome in desk.lines.outcomes(job.number, skip=job.recorded):
        row = _ledger_row(desk, job, outcome)
        rows.append(row)
        _remember(desk, job, outcome)
        if len(rows) >= _ROWS:
            job = desk.store.record(_summed(job, rows), _to_record(job, rows))
            desk.at("put some on record")
            rows.clear()
    job = desk.store.record(_summed(job, rows)._replace(state="done"), _to_record(job, rows))
    desk.watcher.changed(job)
    desk.at("put it on record")
    return job


def _to_record(job: BatchJob, rows: list[CallRow]) -> list[CallRow]:
    """What was asked one by one is on record since then."""
    return [] if job.way == "live" else rows


def _summed(job: BatchJob, rows: Sequence[CallRow]) -> BatchJob:
    paid = [row for row in rows if row.error_kind is None and not row.cached]
    return job._replace(
        recorded=job.recorded + len(rows),
        spent=job.spent + sum((row.cost.amount for row in paid if row.cost), Decimal(0)),
        saved=job.saved + sum((row.saved.amount for row in paid if row.saved), Decimal(0)),
        unpriced=job.unpriced + sum(row.cost is None for row in paid),
    )


def _ledger_row(desk: Desk, job: BatchJob, outcome: Outcome) -> CallRow:
    batch = desk.batch
    known = desk.calls.get(outcome.target)
    caller = Caller(batch.command, outcome.target if known is None else known.target.text, batch.profile)
    if outcome.answer is None:
        error = kept_error(outcome.error)
        nothing = Response(job.provider, job.request_model, "", "error")
        row = call_row(caller, nothing, started_at=job.made_at, error=error)
        return row._replace(batch=job.way == "batch")
    response = decode(outcome.answer)
    if outcome.cached:
        return call_row(caller, as_cached(response, 0.0), started_at=job.made_at)
    row = call_row(caller, response, started_at=job.made_at)
    return row._replace(batch=True, saved=_saved(desk, job, response)) if job.way == "batch" else row


def _saved(desk: Desk, job: BatchJob, response: Response) -> Cost | None:
    """What the answer would have cost more, asked by itself; None where one of the prices is unknown."""
    usual = _cost(desk, job, response, batch=False)
    if usual is None or response.cost is None:
        return None
    less = max(Decimal(0), usual.amount - response.cost.amount)
    return Cost(less, usual.source, exact=usual.exact and response.cost.exact)


def kept_error(text: str | None) -> LLMSwitchError:
    """An error as it was kept with a line."""
    document = json.loads(text or "{}")
    kind = ERRORS_BY_KIND.get(str(document.get("kind")), ServerError)
    return kind(
        str(document.get("message")),
        provider=document.get("provider"),
        request_model=document.get("request_model"),
        status=document.get("status"),
        request_id=document.get("request_id"),
    )


def _remember(desk: Desk, job: BatchJob, outcome: Outcome) -> None:
    """Put an answer where the next one who asks the same finds it; a cache that cannot be written costs a warning."""
    services = desk.services
    if services.cache is None or job.way != "batch" or outcome.answer is None or outcome.cache_key is None:
        return
    response = decode(outcome.answer)
    if response.finish_reason not in STORED:
        return
    try:
        services.cache.put(outcome.cache_key, response)
    except StorageError as error:
        services.warn(error.message)
