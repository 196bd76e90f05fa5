from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.budget import BudgetLimits, Purse, Spending, check_limits, worst_case
from llmswitch.errors import BudgetError
from llmswitch.pricing import PriceKey, Prices
from llmswitch.types import Attachment, Message, Parameters, Request, Usage

_AT = datetime(2026, 11, 22, tzinfo=UTC).timestamp()
#: a dollar a token in, two a token out: what is counted can be read off the amount
_PLAIN = Prices({"m": {"input_mtok": Decimal(10**6), "output_mtok": Decimal(2 * 10**6)}})
_KEY = PriceKey("openai", "m")
_NOTHING = Spending(Decimal(0), Decimal(0))


def _tokens(request: Request, key: PriceKey = _KEY) -> int:
    """Input tokens at worst."""
    bound = worst_case(request, _PLAIN, key, _AT)
    assert bound is not None
    return int(bound.amount) - 2 * (request.parameters.max_tokens or 0)


def _asked(*messages: Message | str, max_tokens: int | None = 0, **more: object) -> Request:
    whole = tuple(m if isinstance(m, Message) else Message("user", m) for m in messages)
    return Request("m", whole, parameters=Parameters(max_tokens=max_tokens), **more)  # type: ignore[arg-type]  # a test's shorthand


# -- the worst case


def test_the_worst_case_is_every_byte_a_token_and_the_longest_answer() -> None:
    bound = worst_case(_asked("", max_tokens=1000), _PLAIN, _KEY, _AT)
    assert bound is not None
    assert bound.amount > 2000
    assert (bound.exact, bound.currency) == (False, "USD")
    empty = _tokens(_asked(""))
    assert _tokens(_asked("naïve 日本")) - empty == len("naïve 日本".encode())
    assert _tokens(_asked("", system="s" * 50)) - empty == 50


def test_each_message_and_a_schema_weigh_more_than_their_text() -> None:
    empty = _tokens(_asked(""))
    assert _tokens(_asked("", "", "")) - empty >= 2 * 4  # OpenAI's own count: up to 4 a message
    schema = {"type": "object", "properties": {"größe": {"type": "integer"}}}
    assert _tokens(_asked("", schema=schema)) - empty >= 1000 + len(json.dumps(schema))


@given(st.text(max_size=300), st.integers(0, 2000), st.integers(0, 500))
def test_no_count_of_tokens_within_the_bytes_costs_more_than_the_worst_case(text: str, tokens: int, out: int) -> None:
    size = len(text.encode("utf-8", "replace"))
    bound = worst_case(_asked(text, max_tokens=500), _PLAIN, _KEY, _AT)
    real = _PLAIN.cost(Usage(min(tokens, size), out), _KEY, _AT)
    assert bound is not None
    assert real is not None
    assert real.amount <= bound.amount


def test_a_vendor_that_bills_what_it_keeps_of_a_prompt_may_bill_all_of_it_so() -> None:
    key = PriceKey("openai", "gpt-6-luna")
    request = Request("gpt-6-luna", (Message("user", "x" * 10_000),), parameters=Parameters(max_tokens=1))
    bound = worst_case(request, Prices(), key, _AT)
    written = Prices().cost(Usage(10_000, 1, cache_creation_input_tokens=10_000), key, _AT)
    plain = Prices().cost(Usage(10_000, 1), key, _AT)
    assert bound is not None
    assert written is not None
    assert plain is not None
    assert bound.amount > written.amount > plain.amount


def test_no_list_price_falls_as_tokens_rise_so_that_more_tokens_are_a_worst_case() -> None:
    from genai_prices.data_snapshot import get_snapshot
    from genai_prices.types import TieredPrices

    tiered = 0
    for provider in get_snapshot().providers:
        for model in provider.models:
            for price in vars(model.get_prices(datetime.fromtimestamp(_AT, tz=UTC))).values():
                if isinstance(price, TieredPrices):
                    rates = [price.base, *(tier.price for tier in sorted(price.tiers, key=lambda tier: tier.start))]
                    assert rates == sorted(rates), f"{provider.id}:{model.id}"
                    tiered += 1
    assert tiered > 100


def test_an_image_is_bounded_by_the_dearest_vendors_count() -> None:
    image = Attachment("image/png", b"\x89PNG")
    one, two = (_tokens(_asked(Message("user", "", (image,) * number))) for number in (1, 2))
    assert two - one >= 2833 + 8 * 5667  # gpt-4o-mini, eight tiles
    assert one - _tokens(_asked("")) == two - one


def test_a_document_fills_the_context_window() -> None:
    document = Message("user", "", (Attachment("application/pdf", b"%PDF"), Attachment("application/pdf", b"%PDF")))
    known = PriceKey("openai", "m", price_model="gpt-4o")
    assert _PLAIN.context_window(known) == 128_000
    assert _tokens(_asked(document), known) - _tokens(_asked("")) == 128_000
    unknown = PriceKey("my-endpoint", "m")
    assert _PLAIN.context_window(unknown) is None
    assert _tokens(_asked(document), unknown) - _tokens(_asked("")) == 2_000_000


def test_without_a_price_or_a_cap_there_is_no_worst_case() -> None:
    assert worst_case(_asked("hi"), Prices(), PriceKey("openai", "no-such-model"), _AT) is None
    assert worst_case(_asked("hi", max_tokens=None), _PLAIN, _KEY, _AT) is None


def test_a_free_model_costs_nothing_at_worst() -> None:
    free = Prices({"m": {"input_mtok": Decimal(0), "output_mtok": Decimal(0)}})
    bound = worst_case(_asked("hi", max_tokens=9), free, _KEY, _AT)
    assert bound is not None
    assert bound.amount == 0


# -- limits


def test_a_budget_can_be_spent_to_the_last_pico_dollar_and_no_further() -> None:
    limits, pico = BudgetLimits(daily=Decimal(1)), Decimal("1e-12")
    used = Spending(Decimal("0.5"), Decimal("0.25"))
    check_limits(limits, date(2026, 11, 22), used, used, Decimal("0.25"))
    with pytest.raises(BudgetError):
        check_limits(limits, date(2026, 11, 22), used, used, Decimal("0.25") + pico)


def test_the_refusal_says_what_is_left_what_it_may_cost_and_when_it_begins_anew() -> None:
    limits = BudgetLimits(daily=Decimal(5))
    with pytest.raises(BudgetError) as caught:
        check_limits(limits, date(2026, 12, 31), Spending(Decimal("4.2"), Decimal("0.5")), _NOTHING, Decimal("0.9"))
    assert caught.value.exit_code == 5
    for said in ("LLM_BUDGET_DAILY=$5", "$4.2 is spent", "$0.5 reserved", "up to $0.9", "2027-01-01", "max_tokens"):
        assert said in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("today", "anew"), [(date(2026, 1, 31), "2026-02-01"), (date(2026, 12, 1), "2027-01-01")], ids=str
)
def test_a_month_begins_anew_with_its_first_day(today: date, anew: str) -> None:
    limits = BudgetLimits(daily=Decimal(5), monthly=Decimal(10))
    with pytest.raises(BudgetError, match="LLM_BUDGET_MONTHLY") as caught:
        check_limits(limits, today, _NOTHING, Spending(Decimal("9.5"), Decimal(0)), Decimal(1))
    assert anew in caught.value.message
    assert "reserved" not in caught.value.message


def test_without_limits_everything_fits() -> None:
    check_limits(BudgetLimits(), date(2026, 1, 1), _NOTHING, _NOTHING, Decimal(10**9))


# -- one command's purse


def test_a_purse_counts_what_is_spent_and_what_is_in_flight() -> None:
    purse = Purse(Decimal(1))
    purse.reserve(Decimal("0.6"))
    with pytest.raises(BudgetError, match="--max-cost") as caught:
        purse.reserve(Decimal("0.5"))
    assert "$0.6 reserved by calls in flight" in caught.value.message
    purse.settle(Decimal("0.6"), Decimal("0.1"))
    assert (purse.spent, purse.reserved) == (Decimal("0.1"), Decimal(0))
    purse.reserve(Decimal("0.9"))
    with pytest.raises(BudgetError):
        purse.reserve(Decimal("1e-12"))
