"""A whole answer as JSON and back, exactly: what the response cache keeps. No pickle, and nothing taken on trust."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, get_args

from llmswitch.types import Attempt, Cost, FinishReason, Response, Timing, Usage

__all__ = ["decode", "encode"]

_VERSION = 2
#: what no count and no time in seconds comes near, and of what power of ten no amount of money is: an answer that
#: somebody else has put there must not be more than can be reckoned with
_MOST = 2**53
_LARGEST_EXPONENT = 40
_NONE = type(None)
_TEXT, _MAYBE_TEXT, _FLAG = (str,), (str, _NONE), (bool,)
_COUNT, _SECONDS, _MAYBE_SECONDS = (int, _NONE), (float, int), (float, int, _NONE)

#: what a field may hold; a field that is not here is not stored
_FIELDS: dict[type, dict[str, tuple[type, ...]]] = {
    Response: {
        "provider": _TEXT,
        "request_model": _TEXT,
        "text": _TEXT,
        "finish_reason": _TEXT,
        "usage": (dict,),
        "response_model": _MAYBE_TEXT,
        "response_id": _MAYBE_TEXT,
        "request_id": _MAYBE_TEXT,
        "timing": (dict,),
        "duration_s": _SECONDS,
        "cost": (dict, _NONE),
        "attempts": (list,),
        "service_tier": _MAYBE_TEXT,
    },
    Usage: {
        "input_tokens": _COUNT,
        "output_tokens": _COUNT,
        "cache_read_input_tokens": _COUNT,
        "cache_creation_input_tokens": _COUNT,
        "reasoning_output_tokens": _COUNT,
        "cache_creation_1h_input_tokens": _COUNT,
        "estimated": _FLAG,
    },
    Timing: {"time_to_first_token_s": _MAYBE_SECONDS, "content_span_s": _MAYBE_SECONDS},
    Cost: {"amount": _TEXT, "source": _TEXT, "exact": _FLAG, "currency": _TEXT},
    Attempt: {
        "provider": _TEXT,
        "model": _TEXT,
        "outcome": _TEXT,
        "status": _COUNT,
        "duration_s": _SECONDS,
        "retry_after_s": _MAYBE_SECONDS,
    },
}


def encode(response: Response) -> str:
    """`response` as JSON text, but for `cached` and `original`, which an answer just received does not have."""
    row, cost = _row(response), response.cost
    row["usage"], row["timing"] = _row(response.usage), _row(response.timing)
    row["cost"] = cost and {**_row(cost), "amount": str(cost.amount)}
    row["attempts"] = [_row(attempt) for attempt in response.attempts]
    return json.dumps({"v": _VERSION, **row})


def _row(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in _FIELDS[type(value)]}


def decode(text: str) -> Response:
    """The response that `encode` was given; ValueError where `text` is anything else."""
    row = json.loads(text)
    if not isinstance(row, dict) or row.pop("v", None) != _VERSION:
        raise ValueError("not an answer of this version")
    values = _checked(Response, row)
    if values["finish_reason"] not in get_args(FinishReason):
        raise ValueError("not how an answer ends")
    cost = values["cost"] and _checked(Cost, values["cost"])
    if cost:
        cost["amount"] = _amount(cost["amount"])
    values["usage"] = Usage(**_checked(Usage, values["usage"]))
    values["timing"] = Timing(**_checked(Timing, values["timing"]))
    values["cost"] = Cost(**cost) if cost else None
    values["attempts"] = tuple(Attempt(**_checked(Attempt, attempt)) for attempt in values["attempts"])
    return Response(**values)


def _checked(kind: type, row: Any) -> dict[str, Any]:
    """`row` if it has exactly the fields of `kind`, each of its type."""
    fields = _FIELDS[kind]
    if not isinstance(row, dict) or row.keys() != fields.keys():
        raise ValueError(f"not a {kind.__name__}")
    for name, kinds in fields.items():
        # type, not isinstance: to Python, true is an int
        if type(row[name]) not in kinds:
            raise ValueError(f"{kind.__name__}.{name} is {type(row[name]).__name__}")
        if isinstance(row[name], (int, float)) and not -_MOST <= row[name] <= _MOST:
            raise ValueError(f"{kind.__name__}.{name} is beyond all bounds")
    return row


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except ArithmeticError as error:
        raise ValueError(f"not an amount: {text!r}") from error
    if not amount.is_finite() or amount < 0 or abs(amount.adjusted()) > _LARGEST_EXPONENT:
        raise ValueError(f"not an amount: {text!r}")
    return amount
