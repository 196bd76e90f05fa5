"""A batch from its input to the ledger: prepared, looked at by whoever pays, noted. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from llmswitch.batches import Batch, Batches
from llmswitch.batchlines import Lines
from llmswitch.budget import BudgetLimits, Purse
from llmswitch.errors import BudgetError
from llmswitch.runs.ask import Services
from llmswitch.runs.batch.folder import LINES, Folders
from llmswitch.runs.batch.inputs import Bad, Row
from llmswitch.runs.batch.lanes import TargetSum
from llmswitch.runs.batch.prepare import Order, Prepared, prepare
from llmswitch.runs.call import BOUND
from llmswitch.runs.estimate import Answers, Money, answers_given, answers_of

__all__ = ["Draft", "Expected", "drafted", "expected", "keep", "limits_of"]

_NOTHING = Money(Decimal(0), Decimal(0), Decimal(0))


class Draft(NamedTuple):
    """A batch that is prepared in `folder` and that nobody knows of yet."""

    id: str
    folder: Path
    prepared: Prepared


class Expected(NamedTuple):
    """What one target's lines will come to: how many, how many of them the cache had, how they are asked, `cost` at the
    rate of that and `usual` at the usual one. `priced` is false where the batch rate is not known, so that `cost` is
    the usual one, which bounds it."""

    target: str
    way: str
    lines: int
    cached: int
    jobs: int
    cost: Money
    usual: Money
    priced: bool
    answers: Answers
    note: str | None
    #: USD, where answers are as long as they may be; as a budget would bound them, where nobody does
    most: Decimal | None


@contextmanager
def drafted(
    order: Order,
    folders: Folders,
    rows: Iterable[Row | Bad],
    counted: Callable[[int], None] = lambda read: None,
    at: Callable[[str], None] = lambda step: None,
) -> Iterator[Draft]:
    """The batch of `rows`, prepared; gone at the end unless it was kept. Raises what `prepare` raises.

    `at` is told the steps (desk.py).
    """
    with folders.draft(order.batch_id) as folder:
        lines = Lines(folder / LINES)
        try:
            prepared = prepare(order, rows, lines, counted)
        finally:
            lines.close()
        at("prepared its lines")
        yield Draft(order.batch_id, folder, prepared)


def expected(prepared: Prepared, services: Services, answer_tokens: int | None = None) -> list[Expected]:
    """What the batch will come to, target by target. Answers are as long as the ledger's history of each model says."""
    return [_expected(prepared, one, services, answer_tokens) for one in prepared.sums]


def _expected(prepared: Prepared, one: TargetSum, services: Services, answer_tokens: int | None) -> Expected:
    call = one.call
    answers = answers_of(services.ledger.path, call) if answer_tokens is None else answers_given(answer_tokens)
    cost = one.tally.money(answers) if one.tally.calls else _NOTHING
    most = cost.high if cost.high is not None else one.tally.money(answers_given(BOUND)).high
    usual = one.tally.at_rate(call.price_key).money(answers) if one.tally.calls else _NOTHING
    at = services.wall()
    batch, standard = (services.prices.rate(call.price_key._replace(batch=b), at) for b in (True, False))
    # where nobody gives a batch rate, the usual one stands in (pricelist.py)
    known = one.way != "batch" or batch is None or standard is None or batch.prices != standard.prices
    jobs = [job for job in prepared.jobs if job.number and (job.target, job.account) == (one.target, call.key)]
    return Expected(
        target=one.target,
        way=one.way,
        lines=one.tally.calls + one.cached,
        cached=one.cached,
        jobs=len(jobs),
        cost=cost,
        usual=usual,
        priced=known,
        answers=answers,
        note=one.note,
        most=most,
    )


def limits_of(services: Services) -> BudgetLimits | None:
    """What the batch must fit into; None where there is no limit."""
    limits = BudgetLimits(services.policy.daily, services.policy.monthly)
    return None if limits == BudgetLimits() else limits


def keep(
    draft: Draft, folders: Folders, batch: Batch, services: Services, at: Callable[[str], None] = lambda step: None
) -> None:
    """Note the batch, and hold what it may cost. Raises BudgetError where that is too much, or unknown under a budget;
    nothing is kept then. `at` is told the steps (desk.py)."""
    policy = services.policy
    jobs = [job for job in draft.prepared.jobs if job.way != "cache"]
    if policy.budgeted and not policy.allow_unknown_price:
        unknown = next((job for job in jobs if job.bound is None), None)
        if unknown is not None:
            raise BudgetError(
                f"what {unknown.target} costs is unknown, and a budget is set: nothing was sent. Give its price in "
                "LLM_PRICES, or ask all the same with --allow-unknown-price.",
                provider=unknown.provider,
                request_model=unknown.request_model,
            )
    if policy.max_cost is not None:
        Purse(policy.max_cost).reserve(sum((job.bound for job in jobs if job.bound is not None), Decimal(0)))
    folder = folders.keep(draft.folder)
    at("gave it its folder")
    try:
        # what is asked one by one reserves one by one
        limits = limits_of(services)
        held = [job if job.way == "batch" else job._replace(bound=None) for job in draft.prepared.jobs]
        Batches(services.ledger.path, services.wall).add(batch, held, limits)
    except BaseException:
        folders.remove(folder.name)
        raise
    at("the ledger knows it")
