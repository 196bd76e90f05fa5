"""Values as JavaScript shows, adds and compares them: what a promptfoo template prints rests on that."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

__all__ = ["METHODS", "calculate", "compare", "js_json", "js_number", "js_text", "same", "truth"]

_EXACT = 2**53
_MOST = 1_000_000


def js_number(value: float) -> str:
    """A number as JavaScript prints it: 1 for 1.0, 1e+21, 1e-7."""
    if isinstance(value, int) and abs(value) <= _EXACT:
        return str(value)
    value = _double(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value.is_integer() and abs(value) < 1e21:
        # the digits that tell it from its neighbours, then zeros
        return f"{Decimal(repr(value or 0.0)):f}".removesuffix(".0")
    mantissa, mark, exponent = repr(value).partition("e")
    if not mark:
        return mantissa
    power = int(exponent)
    if -6 <= power < 0:
        return f"{value:.{len(mantissa.replace('.', '').lstrip('-')) - 1 - power}f}"
    return f"{mantissa}e{power:+d}"


def js_text(value: Any) -> str:
    """`String(value)`, but that null is empty, as nunjucks has it."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return js_number(value)
    if isinstance(value, (list, tuple)):
        _bounded(value)
        return _joined(value)
    return "[object Object]"


def _joined(values: Iterable[Any]) -> str:
    return ",".join(_joined(one) if isinstance(one, (list, tuple)) else js_text(one) for one in values)


def _bounded(value: Any) -> None:
    """Raise ValueError where `value` is endless in practice: a list may hold one list twice, and that another one."""
    waiting, left = [value], _MOST
    while waiting:
        one = waiting.pop()
        left -= 1
        if left < 0:
            raise ValueError(f"a list or mapping stands for over {_MOST:,} values")
        if isinstance(one, (list, tuple)):
            waiting += one
        elif isinstance(one, dict):
            waiting += one.values()


def _plain(value: Any) -> Any:
    """`value` with its numbers as JSON.stringify writes them: those of a double, and whole ones as integers."""
    if isinstance(value, int) and abs(value) > _EXACT:
        value = _double(value)
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < 1e21
        return int(js_number(value)) if whole else value if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value


def js_json(value: Any, indent: int | None = None) -> str:
    """`JSON.stringify(value, null, indent)`."""
    _bounded(value)
    separators = None if indent else (",", ":")
    return json.dumps(_plain(value), ensure_ascii=False, indent=indent or None, separators=separators, default=str)


def truth(value: Any) -> bool:
    """Whether `if` takes it: an empty list is as good as any object."""
    return (
        True
        if isinstance(value, (list, dict))
        else bool(value) and not (isinstance(value, float) and math.isnan(value))
    )


def _number(value: Any) -> float:
    """`Number(value)`."""
    if value is None or isinstance(value, (bool, int, float)):
        return value or 0
    text = js_text(value).strip()
    try:
        return float(text or 0) if "_" not in text and len(text) < 400 else math.nan
    except ValueError:
        return math.nan


def _divide(a: float, b: float) -> float:
    if b:
        return a / b
    return math.nan if not a or math.isnan(a) else math.copysign(math.inf, a)


def _power(a: float, b: float) -> float:
    try:
        return math.pow(a, b)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.nan


_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "//": lambda a, b: math.floor(_divide(a, b)) if math.isfinite(_divide(a, b)) else _divide(a, b),
    "%": lambda a, b: math.fmod(a, b) if b and math.isfinite(a) else math.nan,
    "**": _power,
}


def calculate(sign: str, left: Any, right: Any) -> Any:
    """`left sign right`: '+' joins where either is no number. Numbers stay those of a double, so that none grows."""
    if sign == "+" and not all(one is None or isinstance(one, (bool, int, float)) for one in (left, right)):
        return js_text(left) + js_text(right)
    a, b = _number(left), _number(right)
    if any(isinstance(one, int) and abs(one) > _EXACT for one in (a, b)):
        a, b = _double(a), _double(b)
    found = _ARITHMETIC[sign](a, b)
    if isinstance(found, float) and found.is_integer() and abs(found) <= _EXACT:
        return int(found)
    return found


def _double(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def same(left: Any, right: Any) -> bool:
    """`===`: of lists and mappings, whether they are one and the same."""
    if isinstance(left, (list, tuple, dict)) or isinstance(right, (list, tuple, dict)):
        return left is right
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _equal(left: Any, right: Any) -> bool:
    """`==`."""
    if left is None or right is None or (isinstance(left, str) and isinstance(right, str)):
        return bool(left is right or left == right)
    if isinstance(left, (list, tuple, dict)) and isinstance(right, (list, tuple, dict)):
        return left is right
    return _number(left) == _number(right)


def _ordered(test: Callable[[Any, Any], Any]) -> Callable[[Any, Any], bool]:
    def ordered(left: Any, right: Any) -> bool:
        if isinstance(left, str) and isinstance(right, str):
            return bool(test(left, right))
        return bool(test(_number(left), _number(right)))

    return ordered


def _within(left: Any, right: Any) -> bool:
    if isinstance(right, str):
        return js_text(left) in right
    if isinstance(right, dict):
        return js_text(left) in right
    return any(same(left, one) for one in right) if isinstance(right, (list, tuple)) else False


def _index(items: list[Any], wanted: Any) -> int:
    return next((index for index, one in enumerate(items) if same(one, wanted)), -1)


_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": _equal,
    "ne": lambda a, b: not _equal(a, b),
    "lt": _ordered(operator.lt),
    "lteq": _ordered(operator.le),
    "gt": _ordered(operator.gt),
    "gteq": _ordered(operator.ge),
    "in": _within,
    "notin": lambda a, b: not _within(a, b),
}


def compare(sign: str, left: Any, right: Any) -> bool:
    """A comparison by Jinja2's name for it, with JavaScript's loose equality: '1' == 1."""
    return _COMPARISONS[sign](left, right)


def _slice(value: Any, start: int = 0, end: int | None = None) -> Any:
    return value[int(start) : None if end is None else int(end)]


def _split(text: str, mark: str | None = None) -> list[str]:
    return [text] if mark is None else list(text) if mark == "" else text.split(js_text(mark))


#: what a template may call on texts and lists; nothing of Python's own can be reached
METHODS: Mapping[type, Mapping[str, Callable[..., Any]]] = {
    str: {
        "toUpperCase": str.upper,
        "toLowerCase": str.lower,
        "toString": js_text,
        "trim": lambda text: text.strip(),
        "split": _split,
        "includes": lambda text, part: js_text(part) in text,
        "startsWith": lambda text, part: text.startswith(js_text(part)),
        "endsWith": lambda text, part: text.endswith(js_text(part)),
        "indexOf": lambda text, part: text.find(js_text(part)),
        "slice": _slice,
        "substring": lambda text, start, end=None: _slice(text, max(0, start), end),
    },
    list: {
        "toString": js_text,
        "join": lambda items, mark=",": js_text(mark).join(js_text(one) for one in items),
        "includes": lambda items, one: _index(items, one) >= 0,
        "indexOf": _index,
        "slice": _slice,
    },
}
