"""What can be wrong in settings that can be read: values that cannot be, a price file, a Redis that is not there.

But for one PING to the Redis that REDIS_URL names, nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from llmswitch.errors import ConfigError
from llmswitch.profiles import Settings, Source
from llmswitch.providers import find_vendor, vendor_names
from llmswitch.runs.call import standing_parameters
from llmswitch.runs.checkup import Finding
from llmswitch.runs.policy import read_policy
from llmswitch.targets import parse_target
from llmswitch.types import Target
from llmswitch.variables import VARIABLES, variable

__all__ = ["named_targets", "settings_findings"]


def settings_findings(settings: Settings, environ: Mapping[str, str], *, send: bool) -> Iterator[Finding]:
    """In the order of their weight. Redis is only asked with `send`."""
    yield from _variables(settings, environ)
    yield from _prices(settings)
    yield from _redis(settings, send=send)


def named_targets(settings: Settings) -> list[Target]:
    """Whom LLM_PROVIDER, LLM_FALLBACK, LLM_BALANCE and LLM_TIERS name; nobody where one cannot be read: that is told
    apart."""
    try:
        chosen = settings.get("LLM_PROVIDER")
        policy = read_policy(settings)
        balanced = policy.balance.targets if policy.balance else ()
        named = [*policy.fallback, *(target for target, _ in balanced), *policy.tiers]
        return [*([parse_target(chosen)] if chosen else []), *named]
    except ConfigError:
        return []


def _read_policy(settings: Settings, name: str) -> None:
    read_policy(settings)


def _read_parameters(settings: Settings, name: str) -> None:
    standing_parameters(settings)


def _read_target(settings: Settings, name: str) -> None:
    parse_target(settings.get(name) or "", settings.where(name))


def _read_names(settings: Settings, name: str) -> None:
    vendor_names(settings)


def _read_rate(settings: Settings, name: str) -> None:
    settings.integer(name, 1)


#: variable -> how those that use it read it; what a provider is configured by is read when that is asked
_READERS: Mapping[str, Callable[[Settings, str], object]] = {
    "LLM_PROVIDER": _read_target,
    "MAX_TOKENS": _read_parameters,
    "TEMPERATURE": _read_parameters,
    "LLM_TIMEOUT": Settings.seconds,
    "LLM_CONNECT_TIMEOUT": Settings.seconds,
    "LLM_FIRST_TOKEN_TIMEOUT": Settings.seconds,
    "LLM_IDLE_TIMEOUT": Settings.seconds,
    "LLM_ENDPOINTS": _read_names,
    "CACHE_ENABLED": Settings.flag,
    "CACHE_TTL": Settings.integer,
    "LLM_FALLBACK": _read_policy,
    "LLM_FALLBACK_ON": _read_policy,
    "LLM_BALANCE": _read_policy,
    "LLM_MAX_RETRIES": _read_policy,
    "LLM_TIERS": _read_policy,
    "LLM_BUDGET_DAILY": _read_policy,
    "LLM_BUDGET_MONTHLY": _read_policy,
    "LLM_HISTORY": Settings.flag,
}


def _variables(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Each variable by itself, so that one that is wrong hides no other."""
    readers = {**_READERS, **dict.fromkeys(_rates(settings), _read_rate)}
    # by name: of some variables the lowest value counts, which takes values that are some
    given = {
        row.name for source in settings.sources for n, e in source.entries.items() if e.value and (row := variable(n))
    }
    names = [name for name in dict.fromkeys((*VARIABLES, *readers)) if name in given]
    well = True
    for name in names:
        alone = _alone(settings, name)
        try:
            found = settings.find(name)
            if found is not None and found.refused:
                raise ConfigError(found.refused)
            if name in readers:
                readers[name](alone, name)
        except ConfigError as error:
            well = False
            yield Finding(name, "wrong", error.message)
    for name in dict.fromkeys((*environ, *(name for file in settings.files() for name in file.entries))):
        close = get_close_matches(name, VARIABLES, n=1, cutoff=0.85)
        if name.startswith("LLM_") and variable(name) is None and name != "LLM_PROFILE" and close:
            yield Finding(name, "note", "no variable of llmswitch's: it is not read", f"did you mean {close[0]}?")
    if well:
        yield Finding("variables", "ok", f"{len(names)} set, and all of them can be read" if names else "none is set")


def _rates(settings: Settings) -> Iterator[str]:
    try:
        names = vendor_names(settings)
    except ConfigError:
        return
    for name in names:
        prefix = find_vendor(name, settings).key.upper().replace("-", "_")
        yield from (f"{prefix}_RPM", f"{prefix}_TPM")


def _alone(settings: Settings, name: str) -> Settings:
    """Settings in which nothing but `name` is set."""
    return Settings(
        tuple(source._replace(entries=_only(name, source)) for source in settings.sources),
        profile=settings.profile,
        paths=settings.paths,
        warn=lambda told: None,
    )


def _only(name: str, source: Source) -> Mapping[str, Any]:
    return {n: entry for n, entry in source.entries.items() if (row := variable(n)) is not None and row.name == name}


def _prices(settings: Settings) -> Iterator[Finding]:
    from llmswitch.pricelist import price_list
    from llmswitch.pricing import load_prices

    told: list[str] = []
    try:
        prices = load_prices(_warning(settings, told))
        found = price_list(prices.kept)
    except ConfigError as error:
        yield Finding("prices", "wrong", error.message)
        return
    own = len(prices.own) + len(prices.deployments)
    where = f"; {settings.where('LLM_PRICES')} gives {own} of its own" if settings.find("LLM_PRICES") else ""
    if told:
        yield Finding("prices", "note", " ".join(told), "type: llmswitch cost prices --update, or --reset")
    else:
        yield Finding("prices", "ok", f"{found.source}{where}")


def _warning(settings: Settings, told: list[str]) -> Settings:
    """The same, what it warns of kept in `told`."""
    return Settings(settings.sources, profile=settings.profile, paths=settings.paths, warn=told.append)


def _redis(settings: Settings, *, send: bool) -> Iterator[Finding]:
    """Whether it answers; by its address alone without `send`."""
    try:
        url = settings.secret("REDIS_URL")
        if url is None:
            return
        from llmswitch.redis_state import connect, place, unusable

        client = connect(url.reveal())
    except ConfigError as error:
        yield Finding("redis", "wrong", error.message)
        return
    if not send:
        yield Finding("redis", "ok", f"{place(client)} was not asked (--offline)")
        return
    import redis

    try:
        client.ping()
    except (redis.RedisError, OSError) as error:
        todo = f"start it, or put {settings.where('REDIS_URL')} right"
        yield Finding("redis", "failed", unusable(client, error).message, todo)
    else:
        yield Finding("redis", "ok", f"{place(client)} answers")
    finally:
        client.close()
