"""Fetching a refreshed price list, for whoever asks for that in so many words, and putting it away again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from llmswitch.errors import CallTimeoutError, ConfigError, MalformedError, ProviderError, ServerError, StorageError
from llmswitch.keptprices import Head, PriceList, accepted, keep
from llmswitch.paths import read_regular
from llmswitch.trust import checked_url, is_loopback

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Update", "default_origin", "update_prices"]

_LARGEST = 20_000_001
_PATIENCE_S = 60.0


class Update(NamedTuple):
    """What was kept, and how it differs from the list before: models that are new, gone, or have other rates now."""

    head: Head
    providers: int
    models: int
    new: tuple[str, ...]
    gone: tuple[str, ...]
    changed: tuple[str, ...]


def default_origin() -> str:
    """Where genai-prices itself looks for refreshed prices."""
    from genai_prices.update_prices import DEFAULT_UPDATE_URL

    return DEFAULT_UPDATE_URL


def update_prices(path: Path, origin: str, before: PriceList, *, now: datetime, warn: Callable[[str], None]) -> Update:
    """Keep the list at `origin`, an address or a file, at `path`, if it is one.

    Raises a ProviderError where it cannot be had or is no list; StorageError where it cannot be kept, ConfigError for
    an address that is none. What was kept before stays until then.
    """
    shown = origin
    if "://" in origin:
        shown = _shown(checked_url(origin, "--from"))
        payload = asyncio.run(_fetched(origin, shown, warn))
    else:
        payload = _read(origin)
    providers = accepted(payload, shown)
    try:
        head = keep(path, payload, origin=shown, fetched_at=now.timestamp())
    except OSError as error:
        raise StorageError(f"cannot keep the prices in {path}: {error.strerror or error}.") from error
    old = _by_name(before, now)
    new = _by_name(before._replace(providers=providers), now)
    return Update(
        head,
        len(providers),
        len(new),
        new=tuple(name for name in new if name not in old),
        gone=tuple(name for name in old if name not in new),
        changed=tuple(name for name, price in new.items() if name in old and old[name] != price),
    )


def _by_name(found: PriceList, now: datetime) -> dict[str, object]:
    return {f"{one.id}:{model.id}": model.get_prices(now) for one in found.providers for model in one.models}


def _read(name: str) -> bytes:
    try:
        found = read_regular(Path(name), _LARGEST)
    except OSError as error:
        raise ConfigError(f"--from {name} cannot be read: {error.strerror}.") from error
    if found is None:
        raise ConfigError(f"--from {name} cannot be read: it is no file.")
    return found[0]


def _shown(url: str) -> str:
    """Without what may be a secret: a user's name and password, and the query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


async def _fetched(url: str, shown: str, warn: Callable[[str], None]) -> bytes:
    from llmswitch.providers.base import Endpoint
    from llmswitch.providers.http import HTTP_ERRORS, http_client

    if url.lower().startswith("http:") and not is_loopback(url):
        warn("--from is http://: whoever is on the way can change the prices.")
    kinds: dict[type[Exception], type[ProviderError]] = {TimeoutError: CallTimeoutError, **HTTP_ERRORS}
    client = http_client(Endpoint("prices", url), "--from")
    try:
        async with asyncio.timeout(_PATIENCE_S):
            answer = await client.get(url)
    except tuple(kinds) as error:
        kind = next(ours for native, ours in kinds.items() if isinstance(error, native))
        reason = str(error).rstrip(".") or "no answer in time"
        raise kind(f"the prices at {shown} cannot be had: {reason}. {_STAYS}") from error
    finally:
        await client.aclose()
    if answer.status_code != 200:
        raise ServerError(f"the prices at {shown} cannot be had: status {answer.status_code}. {_STAYS}")
    if len(answer.content) >= _LARGEST:
        raise MalformedError(f"{shown} is no list of prices: it is over 20 MB.")
    return answer.content


_STAYS = "What was in use before still is; --from takes a file, too."
