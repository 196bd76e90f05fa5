"""Targets and parameters as text: `provider[:model][?key=value&…]`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from llmswitch.errors import ConfigError
from llmswitch.types import PARAMETERS, Parameters, Target

__all__ = ["integer", "number", "parse_parameter", "parse_target"]

_PROVIDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def number(text: str, where: str, low: float, high: float = math.inf) -> float:
    """`text` as a finite number within [low, high]; `where` names the flag or variable in the ConfigError."""
    try:
        # float() also takes 1_0 and digits of every script
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and low <= value <= high):
        bounds = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of at least {low:g}"
        raise ConfigError(f"{where} must be a number {bounds}, not {text!r}.")
    return value


def integer(text: str, where: str, low: int, high: int = 2**53) -> int:
    """`text` as a whole number within [low, high]; `where` names the flag or variable in the ConfigError."""
    value = int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else None
    if value is None or not low <= value <= high:
        bounds = f"from {low} to {high}" if high < 2**53 else f"of at least {low}"
        raise ConfigError(f"{where} must be a whole number {bounds}, not {text!r}.")
    return value


def _word(text: str, where: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", text):
        raise ConfigError(f"{where} must be one word, such as low, medium or high, not {text!r}.")
    return text


def _texts(text: str, where: str) -> tuple[str, ...]:
    if not text:
        raise ConfigError(f"{where} must not be empty.")
    return (text,)


_PARSERS: dict[str, Callable[[str, str], Any]] = {
    "temperature": lambda text, where: number(text, where, 0, 2),
    "max_tokens": lambda text, where: integer(text, where, 1),
    "top_p": lambda text, where: number(text, where, 0, 1),
    "seed": lambda text, where: integer(text, where, -(2**31), 2**53 - 1),
    "stop": _texts,
    "reasoning_effort": _word,
}


def parse_parameter(name: str, text: str, where: str) -> Any:
    """The value of one parameter; ConfigError names `where` it was given."""
    return _PARSERS[name](text, where)


@lru_cache(maxsize=256)
def parse_target(text: str, where: str = "the target") -> Target:
    """`text` as a target; ConfigError says what is wrong with it. Whether the provider exists is not asked here."""
    named, mark, query = text.partition("?")
    provider, colon, model = named.partition(":")
    if not _PROVIDER.fullmatch(provider):
        raise ConfigError(f"{where} {text!r} is not a target: write provider, or provider:model, as in claude.")
    if colon and not model:
        raise ConfigError(f"{where} {text!r} names no model after the colon.")
    if mark and not query:
        raise ConfigError(f"{where} {text!r} has nothing after '?'.")
    return Target(provider.lower(), model or None, _parse_query(query, text, where), text)


def _parse_query(query: str, text: str, where: str) -> Parameters:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError as error:
        raise ConfigError(f"{where} {text!r}: what follows '?' must be key=value, joined by '&'.") from error
    parameters = Parameters()
    for name, value in pairs:
        if name not in PARAMETERS:
            known = ", ".join(PARAMETERS)
            raise ConfigError(f"{where} {text!r}: unknown parameter {name!r}. A target takes {known}.")
        parsed = parse_parameter(name, value, f"{name} in {where} {text!r}")
        before = getattr(parameters, name)
        if before is not None:
            if name != "stop":
                raise ConfigError(f"{where} {text!r} gives {name} twice.")
            parsed = before + parsed
        parameters = replace(parameters, **{name: parsed})
    return parameters
