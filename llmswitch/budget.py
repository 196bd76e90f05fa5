"""What may be spent, and what a call costs at worst. No I/O: the ledger's part is book.py."""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from llmswitch.errors import BudgetError
from llmswitch.pricing import PriceKey, Prices
from llmswitch.types import Cost, Message, Request, Usage

__all__ = ["BudgetLimits", "Purse", "Spending", "check_limits", "most_input_tokens", "worst_case"]

#: tokens beyond its text that a vendor wraps a message in (roles, separators), and a whole prompt (its own preamble);
#: OpenAI documents 3 or 4 a message and 3 a prompt
_PER_MESSAGE = 16
_PER_PROMPT = 64
#: the preamble that goes with a schema; Anthropic documents several hundred tokens for the like of it (tool use)
_PER_SCHEMA = 1024
#: tokens of one image, at most. The vendors' dearest: OpenAI's gpt-4o-mini, 2833 + 8 tiles of 5667 = 48,169; Anthropic
#: stops at about 4,800, and Gemini counts 258 a tile of 768 pixels
_PER_IMAGE = 50_000
#: where nobody tells a model's context window: the largest that any vendor sells
_LARGEST_WINDOW = 2_000_000


class BudgetLimits(NamedTuple):
    """What may be spent in USD, in one day and in one month of the local time zone; None is no limit."""

    daily: Decimal | None = None
    monthly: Decimal | None = None


class Spending(NamedTuple):
    """USD of one day or month: what calls cost, and what those in flight have reserved."""

    spent: Decimal
    reserved: Decimal


class Purse:
    """What one command may spend (`--max-cost`), in USD. For one process; not in the ledger."""

    def __init__(self, limit: Decimal) -> None:
        self.limit = limit
        self.spent = Decimal(0)
        self.reserved = Decimal(0)

    def reserve(self, amount: Decimal) -> None:
        """Set `amount` aside; BudgetError where it does not fit."""
        if self.spent + self.reserved + amount > self.limit:
            raise BudgetError(
                f"{_no_room('--max-cost', self.limit, Spending(self.spent, self.reserved), amount)}. "
                "Lower max_tokens, or raise --max-cost."
            )
        self.reserved += amount

    def settle(self, reserved: Decimal, spent: Decimal) -> None:
        """What was `reserved` has cost `spent`."""
        self.reserved -= reserved
        self.spent += spent


def check_limits(limits: BudgetLimits, today: date, day: Spending, month: Spending, amount: Decimal) -> None:
    """Raise BudgetError where a call that may cost `amount` does not fit into what the limits leave."""
    for name, limit, used in (("LLM_BUDGET_DAILY", limits.daily, day), ("LLM_BUDGET_MONTHLY", limits.monthly, month)):
        if limit is not None and used.spent + used.reserved + amount > limit:
            next_month = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
            anew = today + timedelta(days=1) if used is day else next_month
            raise BudgetError(
                f"{_no_room(name, limit, used, amount)}. It begins anew on {anew.isoformat()} at midnight; "
                f"until then lower max_tokens, or raise {name}."
            )


def _no_room(name: str, limit: Decimal, used: Spending, amount: Decimal) -> str:
    held = f" and {_dollars(used.reserved)} reserved by calls in flight" if used.reserved else ""
    return (
        f"over budget, and nothing was sent: of {name}={_dollars(limit)}, {_dollars(used.spent)} is spent{held}, "
        f"and this call may cost up to {_dollars(amount)}"
    )


def _dollars(amount: Decimal) -> str:
    """USD for people, to the last digit: a budget is not rounded."""
    return f"${amount.normalize():f}"


def worst_case(request: Request, prices: Prices, key: PriceKey, at: float) -> Cost | None:
    """The most that `request` may cost at `at` (epoch seconds), None where its price or its `max_tokens` is unknown.

    Every token is at least one byte of UTF-8, so that the bytes bound the tokens of a text; the vendor's own words
    around it, and attachments, are bounded by the constants above, PDFs by the model's context window. The answer has
    at most `max_tokens`, reasoning included. The input may be written to the vendor's prompt cache, which several bill
    above input's own rate, unasked.
    """
    output = request.parameters.max_tokens
    if output is None:
        return None
    tokens = most_input_tokens(request, prices, key)
    cold = prices.cost(Usage(tokens, output, estimated=True), key, at)
    written = prices.cost(Usage(tokens, output, cache_creation_input_tokens=tokens, estimated=True), key, at)
    return max((cost for cost in (cold, written) if cost is not None), key=lambda cost: cost.amount, default=None)


def most_input_tokens(request: Request, prices: Prices, key: PriceKey) -> int:
    """How many tokens of input `request` has at the most, as `worst_case` bounds them."""
    tokens = _PER_PROMPT + _size(request.system or "") + sum(_message_tokens(message) for message in request.messages)
    if request.schema is not None:
        tokens += _PER_SCHEMA + len(json.dumps(request.schema, indent=2))
    kinds = {a.media_type for message in request.messages for a in message.attachments}
    if any(not kind.startswith("image/") for kind in kinds):
        tokens += prices.context_window(key) or _LARGEST_WINDOW
    return tokens


def _message_tokens(message: Message) -> int:
    images = sum(a.media_type.startswith("image/") for a in message.attachments)
    return _PER_MESSAGE + _size(message.text) + images * _PER_IMAGE


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
