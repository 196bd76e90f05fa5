"""What JavaScript takes for white space, text and a regular expression, where promptfoo's verdicts rest on it.

Lengths and regular expressions count UTF-16 code units there: '^.$' does not match an emoji, which is two of them.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any, NoReturn

__all__ = ["parse", "pattern", "text_of", "trim", "units", "words"]

_SPACE = (
    "\t\n\v\f\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
_WORD = re.compile(f"[^{_SPACE}]+")
_ASTRAL = re.compile("[\\ud800-\\udfff\\U00010000-\\U0010ffff]")
_ESCAPE = re.compile(r"\\(?:(u)(?=\{)|u([dD][89a-fA-F][0-9a-fA-F]{2})|(?s:.))")
#: from the first surrogate to U+E000: surrogates, which no Rust library takes, stand as characters of private use
_SHIFT = 0xE000 - 0xD800


def trim(text: str, also: str = "") -> str:
    """`String.prototype.trim`, and the characters of `also`."""
    return text.strip(_SPACE + also)


def words(text: str) -> list[str]:
    """What stands between white space (`\\s`); never an empty one."""
    return _WORD.findall(text)


def text_of(value: Any) -> str:
    """`String(value)` of what YAML or JSON can hold."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, list | tuple):
        return ",".join("" if item is None else text_of(item) for item in value)
    return "[object Object]"


def _number(value: float) -> str:
    """Source: ECMA-262, Number::toString, with radix 10."""
    try:
        double = float(value)
    except OverflowError:
        double = math.inf if value > 0 else -math.inf
    if not math.isfinite(double):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(double, "NaN")
    if double == 0:
        return "0"
    sign, numbers, exponent = Decimal(repr(double)).normalize().as_tuple()
    digits, point = "".join(map(str, numbers)), len(numbers) + int(exponent)
    if 0 < point <= 21:
        text = digits.ljust(point, "0") if point >= len(digits) else f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        text = f"{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{point - 1:+d}"
    return f"-{text}" if sign else text


def parse(text: str) -> Any:
    """`JSON.parse`: neither NaN nor Infinity, and a number that no double holds is infinite. Raises ValueError,
    RecursionError."""
    return json.loads(text, parse_constant=_refuse, parse_int=_whole)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _whole(digits: str) -> float:
    """An int where a double holds it exactly, so that it is shown without '.0'; text of any length is taken."""
    return int(digits) if len(digits) < 16 else float(digits)


def units(text: str) -> str:
    """`text` with one character for each UTF-16 code unit: a surrogate U+D800 + n is written U+E000 + n."""
    return text if text.isascii() else _ASTRAL.sub(_unit, text)


def _unit(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x10000:
        return chr(code + _SHIFT)
    high, low = divmod(code - 0x10000, 0x400)
    return chr(0xD800 + high + _SHIFT) + chr(0xDC00 + low + _SHIFT)


def pattern(source: str) -> str:
    """A regular expression without flags as `regress` has to be given it, to be searched for in `units` of a text.

    Without the flag u, '\\u{61}' is 61 times a u, which regress takes for an 'a', and '\\ud83d' is one code unit.
    """
    return _ESCAPE.sub(_escape, units(source))


def _escape(found: re.Match[str]) -> str:
    if found[1]:
        return "u"
    return chr(int(found[2], 16) + _SHIFT) if found[2] else found[0]
