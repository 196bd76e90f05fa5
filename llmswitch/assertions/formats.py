"""The `format` of a JSON Schema, checked as ajv-formats does; a format that is not here is not checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonschema import FormatChecker

__all__ = ["checker"]

_TIME = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.\d+)?(z|([+-])(\d\d)(?::?(\d\d))?)?", re.IGNORECASE | re.ASCII)
#: RFC 5322's atom, and a label of a host name
_ATOM = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+", re.IGNORECASE | re.ASCII)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(r"P(?!\Z)(?:\d+W|(?:\d+Y)?(?:\d+M)?(?:\d+D)?(?:T(?=\d)(?:\d+H)?(?:\d+M)?(?:\d+S)?)?)", re.ASCII)
_UUID = re.compile(r"(?:urn:uuid:)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
#: RFC 3986: what may stand in an address, and a scheme before it
_ADDRESS = re.compile(r"(?:[a-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9a-f]{2})*", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_URL = re.compile(r"(?:https?|ftp)://(?:\S+@)?([^\s/@:]+)(?::\d{2,5})?(?:/\S*)?", re.IGNORECASE)
#: a label of a host name in any script
_WIDE_LABEL = re.compile(r"[a-z0-9\xa1-\uffff](?:[a-z0-9\xa1-\uffff-]*[a-z0-9\xa1-\uffff])?", re.IGNORECASE)
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_RELATIVE_POINTER = re.compile(r"(?:0|[1-9]\d*)(?:#|(?:/(?:[^~/]|~[01])*)*)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(f"2000{text[4:]}" if text.startswith("0000") else text)
    except ValueError:
        return False
    return True


def _time(text: str, *, zone: bool = True) -> bool:
    """RFC 3339; a second of 60 is a leap second where it is 23:59 in UTC."""
    found = _TIME.fullmatch(text)
    if found is None or (zone and not found[4]):
        return False
    hour, minute, second, ahead, behind = (int(found[group] or 0) for group in (1, 2, 3, 6, 7))
    if ahead > 23 or behind > 59:
        return False
    if hour <= 23 and minute <= 59 and second < 60:
        return True
    offset = (ahead * 60 + behind) * (-1 if found[5] == "+" else 1)
    return second == 60 and (hour * 60 + minute + offset) % 1440 == 1439


def _date_time(text: str) -> bool:
    day, _, time = re.sub(r"[tT\s]", "T", text, count=1).partition("T")
    return _date(day) and _time(time)


def _hostname(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    return len(text) <= 254 and all(len(label) <= 63 and _LABEL.fullmatch(label) for label in labels)


def _email(text: str) -> bool:
    """A host of one label is none here."""
    local, _, host = text.rpartition("@")
    labels = host.split(".")
    return len(labels) > 1 and all(map(_ATOM.fullmatch, local.split("."))) and all(map(_LABEL.fullmatch, labels))


def _uri_reference(text: str) -> bool:
    return bool(_ADDRESS.fullmatch(text)) and text.count("#") <= 1


def _uri(text: str) -> bool:
    scheme = _SCHEME.match(text)
    return scheme is not None and scheme.end() < len(text) and _uri_reference(text)


def _url(text: str) -> bool:
    """Of a host that the whole world can reach: a name with a domain, or no private IPv4 address."""
    import ipaddress

    found = _URL.fullmatch(text)
    if found is None:
        return False
    labels = found[1].split(".")
    if labels[-1].isdecimal():
        return _ip(4)(found[1]) and ipaddress.ip_address(found[1]).is_global
    return len(labels) > 1 and len(labels[-1]) > 1 and all(map(_WIDE_LABEL.fullmatch, labels))


def _ip(version: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        import ipaddress

        try:
            return ipaddress.ip_address(text).version == version and "%" not in text
        except ValueError:
            return False

    return check


def _regex(text: str) -> bool:
    from regress import Regex, RegressError

    from llmswitch.assertions.js import pattern

    try:
        Regex(pattern(text))
    except RegressError:
        return False
    return True


def _whole(expression: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: expression.fullmatch(text) is not None


_FORMATS: dict[str, Callable[[str], bool]] = {
    "date": _date,
    "time": _time,
    "date-time": _date_time,
    "iso-time": lambda text: _time(text, zone=False),
    "duration": _whole(_DURATION),
    "email": _email,
    "hostname": _hostname,
    "ipv4": _ip(4),
    "ipv6": _ip(6),
    "uri": _uri,
    "uri-reference": _uri_reference,
    "url": _url,
    "uuid": _whole(_UUID),
    "json-pointer": _whole(_POINTER),
    "relative-json-pointer": _whole(_RELATIVE_POINTER),
    "regex": _regex,
}


@cache
def checker() -> FormatChecker:
    """For jsonschema; texts alone have a format here."""
    from jsonschema import FormatChecker

    formats = FormatChecker(formats=())
    for name, check in _FORMATS.items():
        formats.checks(name)(lambda value, check=check: not isinstance(value, str) or check(value))
    return formats
