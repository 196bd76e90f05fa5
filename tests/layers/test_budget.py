"""The budget around a scripted provider, with a real ledger."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from llmswitch.book import Book
from llmswitch.budget import BudgetLimits, Purse, worst_case
from llmswitch.database import reading
from llmswitch.errors import BudgetError, LLMSwitchError, RateLimitError, ServerError
from llmswitch.layers.attempt import AttemptLayer, Patience
from llmswitch.layers.base import Layer, collect
from llmswitch.layers.budget import BudgetLayer
from llmswitch.layers.price import PriceLayer
from llmswitch.layers.record import RecordLayer
from llmswitch.ledger import Caller
from llmswitch.pricing import PriceKey, Prices
from llmswitch.providers.base import Endpoint
from llmswitch.types import Chunk, Cost, Parameters, Request, Response, Spend, Trace, Usage
from tests.scripted import ANSWER, Scripted, question

_NOW = 1_763_812_800.0
_CALLER = Caller("ask", "scripted")
#: a dollar a token
_PRICES = Prices({"m": {"input_mtok": Decimal(10**6), "output_mtok": Decimal(10**6)}})
_KEY = PriceKey("scripted", "m")
_LOST = Cost(Decimal(3), "test", exact=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ledger.db"


@pytest.fixture
def book(path: Path) -> Iterator[Book]:
    opened = Book(path, wall=lambda: _NOW)
    yield opened
    opened.close()


def _priced(*scripts: Sequence[Chunk | float | Exception | str], prices: Prices = _PRICES) -> tuple[Layer, Scripted]:
    scripted = Scripted(*scripts)
    attempt = AttemptLayer(scripted, provider="scripted", patience=Patience(), clock=scripted.clock)
    endpoint = Endpoint("scripted", "http://127.0.0.1:9")
    return PriceLayer(attempt, endpoint=endpoint, prices=prices, clock=scripted.clock, wall=lambda: _NOW), scripted


def _budgeted(
    inner: Layer,
    book: Book,
    *,
    daily: str | None = "1000",
    purse: Purse | None = None,
    prices: Prices = _PRICES,
    allow_unknown: bool = False,
) -> BudgetLayer:
    return BudgetLayer(
        inner,
        book=book,
        limits=BudgetLimits(None if daily is None else Decimal(daily)),
        purse=purse,
        bound=lambda request: worst_case(request, prices, _KEY, _NOW),
        allow_unknown=allow_unknown,
        caller=_CALLER,
        provider="scripted",
        wall=lambda: _NOW,
    )


def _recorded(inner: Layer, book: Book) -> RecordLayer:
    return RecordLayer(
        inner, provider="scripted", caller=_CALLER, book=book, warn=pytest.fail, clock=lambda: 50.0, wall=lambda: _NOW
    )


def _asked(trace: Trace | None = None) -> Request:
    return question(parameters=Parameters(max_tokens=100), trace=trace or Trace())


def _ask(layer: Layer, request: Request | None = None) -> Response:
    return asyncio.run(collect(layer.stream(request or _asked())))


def _bound() -> Decimal:
    bound = worst_case(_asked(), _PRICES, _KEY, _NOW)
    assert bound is not None
    return bound.amount


def _reserved(path: Path, book: Book) -> list[Decimal]:
    book.close()
    with reading(path) as connection:
        found = connection.execute("SELECT pico FROM reservations ORDER BY id").fetchall()
    return [Decimal(pico).scaleb(-12) for (pico,) in found]


def _calls(path: Path, book: Book) -> list[sqlite3.Row]:
    book.close()
    with reading(path) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute("SELECT * FROM calls ORDER BY id").fetchall()


# -- before anything is sent


def test_what_a_call_may_cost_is_reserved_and_its_row_settles_it(path: Path, book: Book) -> None:
    inner, _ = _priced(ANSWER)
    request = _asked()
    response = _ask(_budgeted(inner, book), request)
    assert response.cost is not None
    assert response.cost.amount == 7
    assert len(request.trace.reserved) == 1
    assert _reserved(path, book) == [_bound()]
    inner, _ = _priced(ANSWER)
    _ask(_recorded(_budgeted(inner, book), book))
    assert _reserved(path, book) == [_bound()]
    assert [call["cost_pico"] for call in _calls(path, book)] == [7 * 10**12]


def test_a_call_that_does_not_fit_is_refused_and_nothing_is_sent(path: Path, book: Book) -> None:
    inner, scripted = _priced(ANSWER)
    with pytest.raises(BudgetError, match="LLM_BUDGET_DAILY") as caught:
        _ask(_budgeted(inner, book, daily=str(_bound() - 1)))
    assert (caught.value.exit_code, caught.value.provider, caught.value.request_model) == (5, "scripted", "m")
    assert scripted.requests == []
    assert _reserved(path, book) == []
    _ask(_budgeted(inner, book, daily=str(_bound())))
    assert len(scripted.requests) == 1


def test_a_model_of_unknown_price_is_refused_and_the_message_says_what_to_do(book: Book) -> None:
    inner, scripted = _priced(ANSWER, prices=Prices())
    with pytest.raises(BudgetError, match=r"LLM_PRICES.*--allow-unknown-price") as caught:
        _ask(_budgeted(inner, book, prices=Prices()))
    assert caught.value.exit_code == 5
    assert scripted.requests == []


def test_an_unknown_price_may_be_allowed_and_then_nothing_is_reserved(path: Path, book: Book) -> None:
    inner, _ = _priced(ANSWER, prices=Prices())
    purse = Purse(Decimal(0))
    response = _ask(_budgeted(inner, book, prices=Prices(), allow_unknown=True, purse=purse))
    assert (response.text, response.cost) == ("Paris", None)
    assert (int(purse.spent), int(purse.reserved)) == (0, 0)
    assert _reserved(path, book) == []


def test_a_ledger_that_cannot_be_written_refuses_the_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    inner, scripted = _priced(ANSWER)
    book, purse = Book(tmp_path / "file" / "ledger.db"), Purse(Decimal(1000))
    with pytest.raises(BudgetError, match="cannot use the ledger") as caught:
        _ask(_budgeted(inner, book, purse=purse))
    book.close()
    assert caught.value.exit_code == 5
    assert scripted.requests == []
    assert purse.reserved == 0


def test_a_reservation_is_held_until_the_calls_deadline_and_a_little_longer(path: Path, book: Book) -> None:
    inner, _ = _priced(ANSWER)
    began = Trace(started=50.0, started_at=_NOW - 40, ends=50.0 + 600)
    _ask(_budgeted(inner, book), _asked(began))
    _ask(_budgeted(inner, book), _asked())
    book.close()
    with reading(path) as connection:
        kept = connection.execute("SELECT at, lease_until FROM reservations ORDER BY id").fetchall()
    assert kept == [(_NOW - 40, _NOW - 40 + 605), (_NOW, _NOW + 3600)]


# -- attempts that fail


@pytest.mark.parametrize(
    ("script", "left"),
    [
        ((RateLimitError("slow down", status=429),), None),
        ((ServerError("broken", status=500),), None),
        ((Chunk(text="half an answer"), ServerError("cut")), 5),  # 'hi' is one token, the half answer four
    ],
)
def test_a_failed_attempt_gives_back_all_but_what_it_may_have_cost(
    path: Path, book: Book, script: Sequence[Chunk | Exception], left: int | None
) -> None:
    inner, _ = _priced(script)
    request, purse = _asked(), Purse(Decimal(1000))
    with pytest.raises(LLMSwitchError):
        _ask(_budgeted(inner, book, purse=purse), request)
    assert _reserved(path, book) == ([] if left is None else [left])
    assert (int(purse.spent), int(purse.reserved)) == (left or 0, 0)


def test_who_leaves_in_the_middle_pays_for_what_came(path: Path, book: Book) -> None:
    inner, scripted = _priced((Chunk(text="half an answer"), "hang"))
    request, purse = _asked(), Purse(Decimal(1000))

    async def leave() -> None:
        async with aclosing(_budgeted(inner, book, purse=purse).stream(request)) as chunks:  # type: ignore[type-var]  # a generator
            await anext(chunks)

    asyncio.run(leave())
    assert scripted.closed == 1
    assert [spend.why for spend in request.trace.lost] == ["interrupted"]
    assert _reserved(path, book) == [5]
    assert (int(purse.spent), int(purse.reserved)) == (5, 0)


class _Beside(Layer):
    """Fails after another target's attempt was lost beside it, as a hedge's may."""

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        request.trace.lost.append(Spend("other", "m2", "hedged", Usage(), _LOST))
        raise ServerError("no", status=500)
        yield Chunk()


def test_another_targets_loss_is_not_this_ones(path: Path, book: Book) -> None:
    inner, _ = _priced(ANSWER)
    with pytest.raises(ServerError):
        _ask(_budgeted(_Beside(inner), book))
    assert _reserved(path, book) == []


def test_a_call_that_tries_twice_reserves_twice_and_its_rows_settle_both(path: Path, book: Book) -> None:
    class Twice(Layer):
        async def stream(self, request: Request) -> AsyncIterator[Chunk]:
            with pytest.raises(ServerError):
                await collect(self.inner.stream(request))
            async for chunk in self.inner.stream(request):
                yield chunk

    inner, _ = _priced((Chunk(text="half an answer"), ServerError("cut")), ANSWER)
    request = _asked()
    _ask(_recorded(Twice(_budgeted(inner, book)), book), request)
    assert len(request.trace.reserved) == 2
    assert _reserved(path, book) == []
    assert [(call["lost"], call["cost_pico"] // 10**12) for call in _calls(path, book)] == [("server", 5), (None, 7)]


# -- answers


def test_an_answer_whose_price_turns_out_unknown_counts_as_the_worst_case(path: Path, book: Book) -> None:
    nonsense = Chunk(text="x", finish_reason="stop", usage=Usage(5, 2, cache_read_input_tokens=50))
    prices = Prices({"m": {**_PRICES.own["m"], "cache_read_mtok": Decimal(1)}})
    inner, _ = _priced((nonsense,), prices=prices)
    purse = Purse(Decimal(1000))
    response = _ask(_recorded(_budgeted(inner, book, purse=purse), book))
    assert response.cost is not None
    assert (response.cost.amount, response.cost.exact) == (_bound(), False)
    assert purse.spent == _bound()
    assert [call["cost_pico"] for call in _calls(path, book)] == [_bound() * 10**12]


def test_a_command_may_spend_what_its_purse_holds_without_any_ledger(path: Path, book: Book) -> None:
    inner, scripted = _priced(ANSWER)
    purse = Purse(_bound() + 7)
    layer = _budgeted(inner, book, daily=None, purse=purse)
    _ask(layer)
    _ask(layer)
    with pytest.raises(BudgetError, match=r"--max-cost=.*\$14 is spent,"):
        _ask(layer)
    assert len(scripted.requests) == 2
    assert not path.exists()


def test_calls_at_once_cannot_take_the_same_room(path: Path, book: Book) -> None:
    inner, scripted = _priced(ANSWER)
    layer = _recorded(_budgeted(inner, book, daily=str(3 * _bound())), book)

    async def all_at_once() -> list[Response | BaseException]:
        asking = [collect(layer.stream(replace(_asked(), trace=Trace()))) for _ in range(8)]
        return await asyncio.gather(*asking, return_exceptions=True)

    ended = asyncio.run(all_at_once())
    refused = [each for each in ended if isinstance(each, BudgetError)]
    assert len(refused) + len(scripted.requests) == 8
    assert len(scripted.requests) == 3
    assert _reserved(path, book) == []
