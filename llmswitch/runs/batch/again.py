"""Sending once more what failed or expired, and nothing else."""

from __future__ import annotations

from typing import NamedTuple

from llmswitch.batches import BatchJob
from llmswitch.batchlines import Failed
from llmswitch.budget import BudgetLimits
from llmswitch.errors import NotFoundError, ProviderError, TruncatedError
from llmswitch.runs.batch.desk import Desk
from llmswitch.runs.batch.fetching import record
from llmswitch.runs.batch.sending import error_text
from llmswitch.runs.batch.tally import Tally

__all__ = ["Smaller", "deal_again", "give_up", "tidy"]

#: tokens that a vendor wraps a prompt in at most, a schema's preamble included; see budget.py
_WRAPPED = 2048
_NO_END = 2**62


class Smaller(NamedTuple):
    """What makes jobs smaller than their vendor would take; None is the vendor's own limit."""

    lines: int | None = None
    tokens: int | None = None


class _Share(NamedTuple):
    """Lines that go into one new job, which is like the one `of` that they were in before."""

    of: BatchJob
    lines: tuple[Failed, ...]


def tidy(desk: Desk) -> None:
    """Finish what a killed `deal_again` left: a job that was made and got its lines, or did not."""
    for job in desk.jobs():
        if job.state != "dealing":
            continue
        counts = desk.lines.counts(job.number)
        if counts.open:
            desk.put(job._replace(state="prepared"))
        else:
            desk.store.drop(job)


def give_up(desk: Desk, job: BatchJob) -> None:
    """Take it that the answers of `job` which are not here are nowhere: its open lines have failed by that."""
    kind: type[ProviderError] = TruncatedError if job.state == "ended" else NotFoundError
    why = "'s results do not hold this line." if job.state == "ended" else " does not know this line's batch any more."
    lost = kind(f"{job.provider}{why}", provider=job.provider, request_model=job.request_model)
    desk.lines.fail_open(job.number, error_text(lost))
    desk.at("gave up what is missing")
    record(desk, desk.put(job._replace(state="stored")))


def deal_again(desk: Desk, limits: BudgetLimits | None, smaller: Smaller) -> list[BatchJob]:
    """New jobs of every line that failed, ready to be sent. Raises BudgetError where they do not all fit, or nobody
    knows what they may cost; all lines stay as they are then."""
    tidy(desk)
    shares, last = _shares(desk, smaller), max(job.number for job in desk.jobs())
    new = [_job(desk, share, number) for number, share in enumerate(shares, start=last + 1)]
    for job in new:
        desk.check_bound(job)
    new = desk.store.add_jobs(desk.batch, new, limits)
    desk.at("noted jobs for what failed")
    return [_dealt(desk, share, job) for share, job in zip(shares, new, strict=True)]


def _shares(desk: Desk, smaller: Smaller) -> list[_Share]:
    jobs = {job.number: job for job in desk.jobs()}
    shares: list[_Share] = []
    for target in desk.lines.targets():
        filling: dict[tuple[str, str, str], list[Failed]] = {}
        sizes: dict[tuple[str, str, str], int] = {}
        for line in desk.lines.failed(target):
            job = jobs.get(line.job)
            if job is None or job.state != "done":
                continue
            like = (job.request_model, job.account, job.way)
            into = filling.setdefault(like, [])
            size = sizes.get(like, 0) + len(line.body.encode()) + 1
            if into and not _fits(desk, job, len(into) + 1, size, smaller):
                shares.append(_Share(jobs[into[0].job], tuple(into)))
                into.clear()
                size = len(line.body.encode()) + 1
            into.append(line)
            sizes[like] = size
        shares += [_Share(jobs[lines[0].job], tuple(lines)) for lines in filling.values() if lines]
    return shares


def _fits(desk: Desk, job: BatchJob, lines: int, size: int, smaller: Smaller) -> bool:
    """Whether a job like `job` may hold so many lines of so many bytes together."""
    batching = desk.call(job).vendor.batch
    if job.way != "batch" or batching is None:
        return True
    limits = batching.limits
    tokens = min(limits.tokens or _NO_END, smaller.tokens or _NO_END)
    return lines <= min(limits.lines, smaller.lines or _NO_END) and size <= limits.bytes and size // 4 <= tokens


def _job(desk: Desk, share: _Share, number: int) -> BatchJob:
    """A job for what is sent once more, with what it may cost at most."""
    old = share.of
    job = BatchJob(
        old.batch_id,
        number,
        old.target,
        old.provider,
        old.request_model,
        old.account,
        old.way,
        "dealing",
        len(share.lines),
        desk.services.wall(),
    )
    if job.way != "batch":
        return job
    key = desk.call(old).price_key._replace(batch=True)
    tally = Tally(desk.services.prices, key, job.made_at)
    for line in share.lines:
        size = len(line.body.encode())
        tally.add(size, size + _WRAPPED, line.most_output)
    return job._replace(bound=tally.bound())


def _dealt(desk: Desk, share: _Share, job: BatchJob) -> BatchJob:
    """A job that was noted, given its lines, and only then to be sent."""
    desk.lines.give((line.number for line in share.lines), job.number)
    desk.at("gave it its lines")
    return desk.put(job._replace(state="prepared"))
