"""A refreshed price list on disk: what genai-prices publishes between its releases, kept until it is put away.

The file is one line of JSON that says what follows it (`Head`), then the list's own bytes as they came. It is read by
genai-prices' own types, and only where its SHA-256 is the one in that line: damaged, it is as if it were not there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmswitch.errors import MalformedError, StorageError
from llmswitch.paths import read_regular, write_private

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice, Provider

__all__ = ["SCHEMA", "Head", "KeptPrices", "PriceList", "accepted", "keep", "packaged", "parsed"]

SCHEMA = "llmswitch/price-list/1"
#: bytes of a list; today's has under two million
_SMALLEST, _LARGEST = 50_000, 20_000_000
#: how many providers and models a list has, as shares of the packaged one's
_FEWEST, _MOST = Decimal("0.5"), Decimal(4)
#: whose prices no list may lack: those of the vendors that have an adapter of their own here
_NEEDED = frozenset({"openai", "anthropic", "google", "azure"})
#: USD for a million of anything: what is dearer by far than all that is sold is a slip of the point
_DEAREST = Decimal(1_000_000)
#: the longest pattern of a name: longer ones are no names, and may take for ever
_LONGEST_PATTERN = 1000
#: What may make a regular expression take for ever over a short name: a group that is repeated, several repetitions
#: without an end, or many of any kind. A list's patterns have three at most, and no group among them.
_REPEATED_GROUP, _ENDLESS, _ANY = (re.compile(each) for each in (r"\)[*+{]", r"[*+]|\{\d*,\}", r"[*+{]|(?<!\()\?"))
_MOST_ENDLESS, _MOST_OF_ANY = 3, 12


class PriceList(NamedTuple):
    """A list that is in use: genai-prices' providers, and what to call it. `refreshed_at` is None for the packaged."""

    providers: tuple[Provider, ...]
    source: str
    refreshed_at: float | None = None


class Head(NamedTuple):
    """When the list was fetched (epoch seconds), from where, and the SHA-256 of its bytes."""

    fetched_at: float
    origin: str
    sha256: str


class KeptPrices(NamedTuple):
    """The refreshed list at `path`; `stamp` tells one file there from the next. `warn` is told of a damaged one."""

    path: Path
    stamp: tuple[int, int]
    warn: Callable[[str], None]

    @classmethod
    def at(cls, path: Path, warn: Callable[[str], None]) -> KeptPrices | None:
        """None where none was kept."""
        try:
            status = path.stat()
        except OSError:
            return None
        return cls(path, (status.st_mtime_ns, status.st_size), warn)

    def in_use(self) -> PriceList:
        """The list, or the packaged one with a warning where this one is damaged. Read once."""
        return _in_use(self)

    def read(self) -> tuple[Head, bytes]:
        """What is kept. Raises StorageError where it cannot be read, or is not what was written."""
        try:
            found = read_regular(self.path, 2 * _LARGEST)
        except OSError as error:
            raise StorageError(f"the refreshed prices in {self.path} cannot be read: {error.strerror}.") from error
        line, _, payload = (found[0] if found else b"").partition(b"\n")
        try:
            fields = json.loads(line)
            head = Head(float(fields["fetched_at"]), str(fields["origin"]), str(fields["sha256"]))
        except (ValueError, TypeError, KeyError, RecursionError):
            head = None
        if head is None or head.sha256 != hashlib.sha256(payload).hexdigest():
            raise StorageError(f"the refreshed prices in {self.path} are damaged.")
        return head, payload


@lru_cache(maxsize=4)
def _in_use(kept: KeptPrices) -> PriceList:
    try:
        head, payload = kept.read()
        providers = parsed(payload, str(kept.path))
    except (StorageError, MalformedError) as error:
        kept.warn(
            f"{error.message.rstrip('.')}: the packaged prices are used. Type 'llmswitch cost prices --update' to "
            "fetch them anew, or --reset to put them away."
        )
        return packaged()
    from datetime import UTC, datetime

    day = datetime.fromtimestamp(head.fetched_at, tz=UTC).date().isoformat()
    return PriceList(providers, f"genai-prices of {day}", head.fetched_at)


@lru_cache(maxsize=1)
def packaged() -> PriceList:
    """The list that the installed genai-prices brings; an import of 0.2 s CPU."""
    import genai_prices
    from genai_prices.data_snapshot import get_snapshot

    return PriceList(tuple(get_snapshot().providers), f"genai-prices {genai_prices.__version__}")


def keep(path: Path, payload: bytes, *, origin: str, fetched_at: float) -> Head:
    """Put an `accepted` list at `path`, in one step and for this user alone. Raises OSError."""
    head = Head(fetched_at, origin, hashlib.sha256(payload).hexdigest())
    line = json.dumps({"schema": SCHEMA, **head._asdict()})
    write_private(path, f"{line}\n{payload.decode('utf-8')}")
    return head


def accepted(payload: bytes, origin: str) -> tuple[Provider, ...]:
    """The list in `payload`, where it is one that may take the packaged one's place. Raises MalformedError.

    Beside what `parsed` asks: about as many providers and models as the packaged list has, and every vendor with an
    adapter here among them. A list that was cut, or is another's, has not.
    """
    if len(payload) < _SMALLEST:
        raise MalformedError(f"{origin} is no list of prices: it has {len(payload):,} bytes, and a list has far more.")
    providers, known = parsed(payload, origin), packaged().providers
    counts = (
        ("providers", len(providers), len(known)),
        ("models", sum(len(one.models) for one in providers), sum(len(one.models) for one in known)),
    )
    for what, found, expected in counts:
        if not expected * _FEWEST <= found <= expected * _MOST:
            raise MalformedError(
                f"{origin} is not taken for a list of prices: it has {found:,} {what}, the packaged one {expected:,}."
            )
    missing = _NEEDED - {one.id for one in providers if one.models}
    if missing:
        raise MalformedError(f"{origin} is not taken for a list of prices: {', '.join(sorted(missing))} is missing.")
    return providers


def parsed(payload: bytes, origin: str) -> tuple[Provider, ...]:
    """The providers of a list in genai-prices' published form. Raises MalformedError.

    No price may be negative, and none beyond all that is sold. A unit that the installed genai-prices does not know is
    left out, as it leaves it out itself.
    """
    # what its own UpdatePrices.fetch calls; there is no public way in for bytes
    from genai_prices.types import _providers_from_raw

    if len(payload) > _LARGEST:
        raise MalformedError(f"{origin} is no list of prices: it is over {_LARGEST // 1_000_000} MB.")
    try:
        raw = json.loads(payload, parse_float=Decimal)
        if not isinstance(raw, list) or not all(isinstance(one, dict) for one in raw):
            raise ValueError("it is no array of providers")
        for one in raw:  # how to read usage from answers, which is not asked of it here
            one.pop("extractors", None)
        providers = tuple(_providers_from_raw(raw))
        for provider in providers:
            _check(provider)
    except (ValueError, ArithmeticError, AssertionError, TypeError, RecursionError, re.error) as error:
        reason = " ".join(str(error).split())[:300]
        raise MalformedError(f"{origin} is no list of prices as genai-prices publishes them: {reason}.") from error
    return providers


def _check(provider: Provider) -> None:
    for pattern in _patterns(provider.models):
        if len(pattern) > _LONGEST_PATTERN:
            raise ValueError(f"a pattern of {provider.id} has {len(pattern)} characters")
        if _may_take_for_ever(pattern):
            raise ValueError(f"a pattern of {provider.id} repeats too much: {pattern[:60]}")
        re.compile(pattern)
    for model in provider.models:
        for prices in _prices(model):
            for field in list(vars(prices)):
                if not _is_unit(field):
                    delattr(prices, field)
                    continue
                _check_price(getattr(prices, field), f"{provider.id}:{model.id}: {field}")


def _may_take_for_ever(pattern: str) -> bool:
    """Whether a search for `pattern` might; one that is refused for nothing costs an update, and no call."""
    many = len(_ENDLESS.findall(pattern)) > _MOST_ENDLESS or len(_ANY.findall(pattern)) > _MOST_OF_ANY
    return many or _REPEATED_GROUP.search(pattern) is not None


def _check_price(price: Any, where: str) -> None:
    if price is None:
        return
    tiers = getattr(price, "tiers", ())
    amounts = [getattr(price, "base", price), *(tier.price for tier in tiers)]
    starts = [tier.start for tier in tiers]
    if starts != sorted(set(starts)) or any(start < 0 for start in starts):
        raise ValueError(f"{where} has steps out of order")
    for amount in amounts:
        if not isinstance(amount, Decimal) or not amount.is_finite() or not 0 <= amount <= _DEAREST:
            raise ValueError(f"{where} is {amount}, which is no price")


def _prices(model: Any) -> Iterator[ModelPrice]:
    """All that the list says of a model: at any time, and for batch or tiers."""
    if isinstance(model.prices, list):
        if not model.prices:
            raise ValueError(f"{model.id} has no prices")
        yield from (conditional.prices for conditional in model.prices)
    else:
        yield model.prices
    yield from (variant.prices for variant in model.price_variants or ())


def _patterns(value: Any) -> Iterator[str]:
    """Every regular expression among the clauses of `value`."""
    if isinstance(value, list):
        for one in value:
            yield from _patterns(getattr(one, "match", one))
        return
    for inner in ("or_", "and_"):
        yield from _patterns(getattr(value, inner, []))
    if hasattr(value, "regex"):
        yield value.regex


@lru_cache(maxsize=256)
def _is_unit(field: str) -> bool:
    from genai_prices.types import ModelPrice

    return hasattr(ModelPrice(), field)
