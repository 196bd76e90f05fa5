"""The response cache: what its key holds, what a planted or broken database can do, and what it gives back."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diskcache
import diskcache.core
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import llmswitch
from llmswitch.answers import decode, encode
from llmswitch.cache import ResponseCache, cache_key, key_material, lookup
from llmswitch.errors import StorageError
from llmswitch.providers.base import Endpoint
from llmswitch.safedisk import SafeCache, SafeDisk
from llmswitch.types import (
    Attachment,
    Attempt,
    Cost,
    Message,
    Parameters,
    Request,
    Response,
    Secret,
    Timing,
    Trace,
    Usage,
)

# ---------------------------------------------------------------- the key

#: a test that runs for every field in turn needs few examples of each; other work must not fail it by its load
_few = settings(max_examples=15, deadline=None)
_some = settings(max_examples=50, deadline=None)

_text = st.text(max_size=8)
_url = st.text("abcxyz", min_size=1, max_size=8).map(lambda host: f"https://{host}.test/v1")
_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_secret = st.builds(Secret, st.text("abcxyz", min_size=8, max_size=12))

#: every field that decides the answer, with the values it may take
_KEYED: dict[type, dict[str, st.SearchStrategy[Any]]] = {
    Endpoint: {
        "provider": _text,
        "base_url": _url,
        "api_version": st.none() | _text,
        "organization": st.none() | _text,
        "project": st.none() | _text,
        "location": st.none() | _text,
        "fingerprint": st.none() | _text,
        "headers": st.lists(st.tuples(_text, _text), max_size=3).map(tuple),
    },
    Request: {
        "model": _text,
        "messages": st.just(()),  # replaced below: messages are built from the two rows that follow
        "system": st.none() | _text,
        "parameters": st.just(Parameters()),
        "schema": st.none() | st.dictionaries(_text, _json, max_size=3),
        "optional": st.frozensets(st.sampled_from(["temperature", "max_tokens"])),
    },
    Message: {
        "role": st.sampled_from(["user", "assistant"]),
        "text": _text,
        "attachments": st.just(()),
    },
    Attachment: {"media_type": _text, "data": st.binary(max_size=8), "name": _text},
    Parameters: {
        "temperature": st.none() | st.floats(0, 2) | st.integers(0, 2),
        "max_tokens": st.none() | st.integers(1, 9),
        "top_p": st.none() | st.floats(0, 1),
        "seed": st.none() | st.integers(0, 9),
        "stop": st.none() | st.lists(_text, min_size=1, max_size=3).map(tuple),
        "reasoning_effort": st.none() | _text,
    },
}
_KEYED[Message]["attachments"] = st.lists(st.builds(Attachment, **_KEYED[Attachment]), min_size=1, max_size=2).map(
    tuple
)
_KEYED[Request]["messages"] = st.lists(st.builds(Message, **_KEYED[Message]), min_size=1, max_size=3).map(tuple)
_KEYED[Request]["parameters"] = st.builds(Parameters, **_KEYED[Parameters])

#: every field that does not: who asks and how, what is looked up elsewhere, what `Request` repeats
_UNKEYED: dict[type, dict[str, st.SearchStrategy[Any]]] = {
    Endpoint: {
        "model": st.none() | _text,
        "api_key": st.none() | _secret,
        "token": st.none() | _secret,
        "system": st.none() | _text,
        "price_provider": st.none() | _text,
        "price_model": st.none() | _text,
        "connect_timeout_s": st.floats(1, 9),
        "lasting": st.booleans(),
    },
    Request: {
        "stream": st.booleans(),
        "restarts": st.booleans(),
        "alternative": st.booleans(),
        "trace": st.builds(Trace),
    },
    Message: {},
    Attachment: {},
    Parameters: {},
}
_endpoint = st.builds(Endpoint, **_KEYED[Endpoint], **_UNKEYED[Endpoint])
_request = st.builds(Request, **_KEYED[Request], **_UNKEYED[Request])


def _without_order(value: Any) -> Any:
    """Two values that differ by nothing but the order of headers or stop sequences are one question."""
    return (
        sorted(value)
        if isinstance(value, tuple) and value and not isinstance(value[0], (Message, Attachment))
        else value
    )


def _field_names(owner: Any) -> set[str]:
    """Of a frozen dataclass or a named tuple."""
    return set(owner._fields) if hasattr(owner, "_fields") else {field.name for field in dataclasses.fields(owner)}


def _with(whole: Any, name: str, value: Any) -> Any:
    """A copy of a frozen dataclass or a named tuple with another value of one field."""
    return whole._replace(**{name: value}) if hasattr(whole, "_replace") else replace(whole, **{name: value})


def _changed(data: st.DataObject, owner: type, name: str, whole: Any) -> Any:
    """`whole` with another value of one field, wherever in it the owner of that field is."""
    if owner.__name__ == type(whole).__name__:
        before = _without_order(getattr(whole, name))
        value = data.draw(_KEYED[owner][name].filter(lambda new: _without_order(new) != before))
        return _with(whole, name, value)
    nested = {Parameters: "parameters", Message: "messages", Attachment: "messages"}[owner]
    if isinstance(whole, Message):
        nested = "attachments"
    part = getattr(whole, nested)
    if nested == "parameters":
        return _with(whole, nested, _changed(data, owner, name, part))
    index = data.draw(st.integers(0, len(part) - 1))
    return _with(whole, nested, (*part[:index], _changed(data, owner, name, part[index]), *part[index + 1 :]))


@pytest.mark.parametrize("owner", _KEYED)
def test_of_every_field_it_is_decided_whether_it_is_in_the_key(owner: type) -> None:
    assert _KEYED[owner].keys().isdisjoint(_UNKEYED[owner])
    assert _field_names(owner) == _KEYED[owner].keys() | _UNKEYED[owner].keys()


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, row in _KEYED.items() for name in row])
@_few
@given(data=st.data(), endpoint=_endpoint, question=_request)
def test_changing_any_one_field_changes_the_key(
    owner: type, name: str, data: st.DataObject, endpoint: Endpoint, question: Request
) -> None:
    before = cache_key(endpoint, question, None)
    if owner is Endpoint:
        assert cache_key(_changed(data, owner, name, endpoint), question, None) != before
    else:
        assert cache_key(endpoint, _changed(data, owner, name, question), None) != before


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, row in _UNKEYED.items() for name in row])
@_few
@given(data=st.data(), endpoint=_endpoint, question=_request)
def test_what_cannot_change_the_answer_leaves_the_key(
    owner: type, name: str, data: st.DataObject, endpoint: Endpoint, question: Request
) -> None:
    value = data.draw(_UNKEYED[owner][name])
    other = replace(endpoint, **{name: value}) if owner is Endpoint else endpoint
    asked = replace(question, **{name: value}) if owner is Request else question
    assert cache_key(other, asked, None) == cache_key(endpoint, question, None)


@_some
@given(_endpoint, _request, st.none() | _text, st.none() | _text)
def test_namespaces_share_nothing(endpoint: Endpoint, request: Request, one: str | None, other: str | None) -> None:
    same = cache_key(endpoint, request, one) == cache_key(endpoint, request, other)
    assert same == (one == other)


def _shuffled(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        items = [(name, _shuffled(part, rng)) for name, part in value.items()]
        rng.shuffle(items)
        return dict(items)
    return [_shuffled(part, rng) for part in value] if isinstance(value, list) else value


@_some
@given(_endpoint, _request, st.randoms(use_true_random=False))
def test_reordering_changes_nothing(endpoint: Endpoint, request: Request, rng: random.Random) -> None:
    headers, stop = list(endpoint.headers), list(request.parameters.stop or ())
    rng.shuffle(headers)
    rng.shuffle(stop)
    other = replace(
        request,
        schema=_shuffled(request.schema, rng),
        parameters=replace(request.parameters, stop=tuple(stop) or None),
    )
    moved = replace(endpoint, headers=tuple(headers))
    assert cache_key(moved, other, None) == cache_key(endpoint, request, None)


def test_the_order_of_messages_and_of_a_list_in_the_schema_does_count() -> None:
    endpoint, one, two = Endpoint("p", "https://h.test"), Message("user", "1"), Message("user", "2")
    assert cache_key(endpoint, Request("m", (one, two)), None) != cache_key(endpoint, Request("m", (two, one)), None)
    keys = {cache_key(endpoint, Request("m", (one,), schema={"enum": e}), None) for e in (["a", "b"], ["b", "a"])}
    assert len(keys) == 2


def test_one_and_one_point_zero_are_the_same_question() -> None:
    keys = {
        cache_key(Endpoint("p", "u"), Request("m", (), parameters=Parameters(temperature=t)), None) for t in (1, 1.0)
    }
    assert len(keys) == 1


def test_no_secret_is_in_what_the_key_is_made_of() -> None:
    endpoint = Endpoint(
        "openai", "https://user:hunter2-in-url@h.test/v1", api_key=Secret("sk-hunter2"), token=Secret("hunter2-token")
    )
    material = json.dumps(key_material(endpoint, Request("m", (Message("user", "hi"),)), None))
    assert "hunter2" not in material
    assert "h.test/v1" in material


# ---------------------------------------------------------------- answers as JSON

_count = st.none() | st.integers(0, 10**9)
_seconds = st.floats(0, 1e6)
_usage = st.builds(Usage, _count, _count, _count, _count, _count, _count, st.booleans())
_attempt = st.builds(Attempt, _text, _text, _text, _count, _seconds, st.none() | _seconds)
_cost = st.builds(Cost, st.decimals(0, 10**15, places=12), _text, st.booleans(), _text)
_response = st.builds(
    Response,
    provider=_text,
    request_model=_text,
    text=st.text(st.characters(), max_size=20),
    finish_reason=st.sampled_from(["stop", "length"]),
    usage=_usage,
    response_model=st.none() | _text,
    response_id=st.none() | _text,
    request_id=st.none() | _text,
    timing=st.builds(Timing, st.none() | _seconds, st.none() | _seconds),
    duration_s=_seconds,
    cost=st.none() | _cost,
    attempts=st.lists(_attempt, max_size=3).map(tuple),
    service_tier=st.none() | _text,
)


@_some
@given(_response)
def test_an_answer_comes_back_exactly(response: Response) -> None:
    again = decode(encode(response))
    assert again == response
    assert str(again.cost) == str(response.cost), "the very digits of the price"


def test_every_field_of_an_answer_is_stored() -> None:
    stored = {field.name for field in dataclasses.fields(Response)} - {"cached", "original"}
    assert json.loads(encode(ANSWER)).keys() == {"v", *stored}


@_some
@given(st.data())
def test_an_answer_with_a_field_of_another_type_is_refused(data: st.DataObject) -> None:
    row = json.loads(encode(ANSWER))
    name = data.draw(st.sampled_from(sorted(row.keys() - {"v"})))
    row[name] = data.draw(st.sampled_from([[1], {"a": 1}, True]).filter(lambda new: type(new) is not type(row[name])))
    with pytest.raises(ValueError, match=r"."):
        decode(json.dumps(row))


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"v":2}', "not json", "[" * 5])
def test_what_is_no_answer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("finish_reason", "<b>"),
        ("duration_s", float("nan")),
        ("duration_s", 10**400),
        ("timing", {"time_to_first_token_s": float("inf")}),
        ("usage", {"input_tokens": 10**400}),
    ],
)
def test_an_answer_that_could_not_be_shown_is_refused(name: str, value: object) -> None:
    row = json.loads(encode(ANSWER))
    row[name] = {**row[name], **value} if isinstance(value, dict) else value
    with pytest.raises(ValueError, match=r"."):
        decode(json.dumps(row))


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "a lot", "", "-1", "1e99999", "1e-99999", "0e99999"])
def test_a_price_that_is_none_is_refused(amount: str) -> None:
    row = json.loads(encode(ANSWER))
    row["cost"]["amount"] = amount
    with pytest.raises(ValueError, match="not an amount"):
        decode(json.dumps(row))


# ---------------------------------------------------------------- on disk

ANSWER = Response(
    provider="openai",
    request_model="gpt-6-luna",
    text="Paris — \U0001f5fc",
    finish_reason="stop",
    usage=Usage(12, 3, 0, 0, 1),
    response_model="gpt-6-luna-2026",
    response_id="r1",
    request_id="q1",
    timing=Timing(0.2, 0.1),
    duration_s=0.5,
    cost=Cost(Decimal("0.000120"), "genai-prices"),
    attempts=(Attempt("openai", "gpt-6-luna", "overloaded", 503, 0.1, 1.0), Attempt("openai", "gpt-6-luna", "ok", 200)),
)
KEY = "ab" * 32


class Wall:
    """Epoch seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    """A clock for us and for diskcache, which takes no other than its module's."""
    clock = Wall()
    monkeypatch.setattr(diskcache.core, "time", SimpleNamespace(time=clock, sleep=lambda seconds: None))
    return clock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "responses"


@pytest.fixture
def cache(folder: Path) -> Iterator[ResponseCache]:
    with closing(ResponseCache(folder, ttl_s=3600)) as opened:
        yield opened


def _run_sql(folder: Path, statement: str, *rows: tuple[object, ...]) -> list[Any]:
    with closing(sqlite3.connect(folder / "cache.db")) as connection, connection:
        return [connection.execute(statement, row).fetchall() for row in rows or ((),)]


def test_what_was_put_is_got_by_another_process_s_cache(folder: Path, cache: ResponseCache) -> None:
    cache.put(KEY, ANSWER)
    assert ResponseCache(folder, ttl_s=60).get(KEY) == ANSWER
    assert cache.get("cd" * 32) is None


def test_a_database_that_somebody_removed_is_made_again(folder: Path, cache: ResponseCache) -> None:
    cache.put(KEY, ANSWER)
    shutil.rmtree(folder)
    assert cache.get(KEY) is None
    cache.put(KEY, ANSWER)
    assert cache.get(KEY) == ANSWER


def test_reading_an_empty_cache_makes_no_folder(folder: Path, cache: ResponseCache) -> None:
    assert cache.get(KEY) is None
    assert cache.stats().entries == 0
    assert (cache.clear(), cache.prune()) == (0, 0)
    assert not folder.exists()


def test_a_cached_answer_costs_nothing_and_keeps_the_first_call_s_figures(cache: ResponseCache) -> None:
    cache.put(KEY, ANSWER)
    ticks = iter([10.0, 10.25])
    found = lookup(cache, KEY, lambda: next(ticks))
    assert found is not None
    assert (found.text, found.finish_reason, found.response_model) == (ANSWER.text, "stop", "gpt-6-luna-2026")
    assert found.cached
    assert found.original == ANSWER
    assert found.usage == Usage(0, 0, 0, 0, 0, 0)
    assert found.cost is not None
    assert found.cost == Cost(Decimal(0), "cache", exact=True)
    assert (found.attempts, found.timing, found.duration_s) == ((), Timing(), 0.25)
    assert lookup(cache, "cd" * 32, lambda: 0.0) is None


@pytest.mark.parametrize("reason", ["content_filter", "tool_call", "error"])
def test_only_whole_answers_are_stored(cache: ResponseCache, reason: Any) -> None:
    with pytest.raises(ValueError, match="not to be stored"):
        cache.put(KEY, replace(ANSWER, finish_reason=reason))
    with pytest.raises(ValueError, match="not to be stored"):
        cache.put(KEY, replace(ANSWER, cached=True))
    assert cache.get(KEY) is None


def test_an_answer_is_served_until_its_time_is_up(folder: Path, wall: Wall) -> None:
    with closing(ResponseCache(folder, ttl_s=60, wall=wall)) as cache:
        cache.put(KEY, ANSWER)
        wall.now += 59
        assert cache.get(KEY) == ANSWER
        wall.now += 2
        assert cache.get(KEY) is None
        assert (cache.stats().entries, cache.stats().expired) == (1, 1)
        for index in range(10):  # storing takes expired ones away, each tenth time
            cache.put(f"{index:064x}", ANSWER)
        assert (cache.stats().entries, cache.stats().expired) == (10, 0)


def test_a_reader_with_less_patience_takes_no_older_answer(folder: Path, wall: Wall) -> None:
    with closing(ResponseCache(folder, ttl_s=3600, wall=wall)) as cache:
        cache.put(KEY, ANSWER)
    wall.now += 20
    assert ResponseCache(folder, ttl_s=30, wall=wall).get(KEY) == ANSWER
    assert ResponseCache(folder, ttl_s=10, wall=wall).get(KEY) is None
    assert ResponseCache(folder, ttl_s=0, wall=wall).get(KEY) is None


def test_a_reader_with_more_patience_heeds_what_the_writer_allowed(folder: Path, wall: Wall) -> None:
    with closing(ResponseCache(folder, ttl_s=10, wall=wall)) as cache:
        cache.put(KEY, ANSWER)
    wall.now += 20
    assert ResponseCache(folder, ttl_s=3600, wall=wall).get(KEY) is None


def test_prune_takes_what_is_expired_and_leaves_the_rest(folder: Path, wall: Wall) -> None:
    with closing(ResponseCache(folder, ttl_s=60, wall=wall)) as short:
        for index in range(150):
            wall.now += 0.001
            short.put(f"{index:064x}", ANSWER)
    with closing(ResponseCache(folder, ttl_s=3600, wall=wall)) as cache:
        cache.put(KEY, ANSWER)
        wall.now += 100
        assert cache.prune() == 150
        assert cache.prune() == 0
        assert cache.get(KEY) == ANSWER


def test_over_its_limit_the_cache_drops_the_oldest(folder: Path, wall: Wall) -> None:
    long = replace(ANSWER, text="x" * 5_000)
    with closing(ResponseCache(folder, ttl_s=3600, size_limit=300_000, wall=wall)) as cache:
        for index in range(100):
            wall.now += 1
            cache.put(f"{index:064x}", long)
        stats = cache.stats()
        assert 200_000 < stats.size_bytes < 350_000
        assert 20 < stats.entries < 60
        assert cache.get(f"{99:064x}") == long
        assert cache.get(f"{0:064x}") is None
        assert stats.newest == wall.now
    with closing(ResponseCache(folder, ttl_s=3600, size_limit=200_000, wall=wall)) as smaller:
        assert smaller.prune() > 0
        assert smaller.stats().size_bytes <= 200_000
        assert smaller.get(f"{99:064x}") == long


def test_clear_counts_what_it_removes(cache: ResponseCache) -> None:
    for index in range(120):
        cache.put(f"{index:064x}", ANSWER)
    assert cache.stats().entries == 120
    assert cache.clear() == 120
    assert cache.get(f"{0:064x}") is None
    assert cache.stats().oldest is None


@pytest.mark.skipif(os.name != "posix", reason="no permission bits")
def test_nobody_else_can_read_it(folder: Path, cache: ResponseCache) -> None:
    before = os.umask(0)
    try:
        cache.put(KEY, ANSWER)
        lock = cache.claim(KEY)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert lock is not None
    lock.release()
    assert {"responses", "cache.db", "cache.db-wal", "cache.db-shm", "asking.lock"} == modes.keys()
    assert {name for name, mode in modes.items() if mode & 0o077} == set()


@pytest.mark.skipif(os.name != "posix", reason="no permission bits")
def test_what_was_open_to_others_is_closed(folder: Path) -> None:
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    (folder / "cache.db").touch()
    (folder / "cache.db").chmod(0o666)
    with closing(ResponseCache(folder, ttl_s=60)) as cache:
        cache.put(KEY, ANSWER)
        assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (folder, *folder.iterdir())} == {0}


def test_a_folder_s_name_means_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE", "elsewhere")
    folder = tmp_path / "a ?#%41$ELSEWHERE~"
    with closing(ResponseCache(folder, ttl_s=60)) as cache:
        cache.put(KEY, ANSWER)
        assert cache.get(KEY) == ANSWER
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


# ---------------------------------------------------------------- planted


class Bomb:
    """A pickle that leaves a file where it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.marker),)


@dataclasses.dataclass(frozen=True)
class Planted:
    """A folder with a database that holds one hostile row, a file it aims at, and a marker of code that ran."""

    folder: Path
    marker: Path
    victim: Path

    def harmed(self) -> bool:
        return self.marker.exists() or not self.victim.exists()


_ROWS = {
    "a pickled value": ("k", 1, 4, None, "bomb"),
    "a pickled value in a file": ("k", 1, 4, "bomb.val", None),
    "a pickled key": ("bomb", 0, 1, None, "text"),
    "a file name that climbs out": ("k", 1, 3, "../victim.txt", None),
    "an absolute file name": ("k", 1, 2, "victim", None),
    "a file name beside a value": ("k", 1, 1, "../victim.txt", "text"),
}


@pytest.fixture(params=_ROWS)
def planted(request: pytest.FixtureRequest, tmp_path: Path) -> Planted:
    folder = tmp_path / "responses"
    victim = tmp_path / "victim.txt"
    victim.write_text("precious", encoding="utf-8")
    bomb = pickle.dumps(Bomb(tmp_path / "marker"))
    with closing(ResponseCache(folder, ttl_s=3600)) as cache:
        cache.put("good", ANSWER)
    (folder / "bomb.val").write_bytes(bomb)
    real = {"bomb": bomb, "k": KEY, "victim": str(victim)}
    key, raw, mode, filename, value = _ROWS[request.param]
    _run_sql(
        folder,
        "INSERT INTO Cache (key, raw, store_time, expire_time, mode, filename, value) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (real.get(key, key), raw, 2e9, 3e9, mode, real.get(str(filename), filename), real.get(str(value), value)),
    )
    return Planted(folder, tmp_path / "marker", victim)


def test_plain_diskcache_falls_for_every_planted_row(planted: Planted) -> None:
    """The control: without it the next tests could pass because the rows are duds."""
    with diskcache.Cache(str(planted.folder)) as plain:
        list(plain)
        read = plain.get(KEY)
        plain.clear()
    assert planted.harmed() or read in ("precious", b"precious")


def test_a_planted_row_is_a_miss_and_harms_nothing(planted: Planted) -> None:
    with closing(ResponseCache(planted.folder, ttl_s=3600)) as cache:
        assert cache.get(KEY) is None
        assert cache.get("good") == ANSWER
        assert cache.stats().entries == 2
        cache.put(KEY, ANSWER)
        assert cache.get(KEY) == ANSWER
        cache.prune()
        assert not planted.harmed()
        assert cache.clear() in (2, 3)  # a pickled key is another row than KEY's
    assert not planted.harmed()
    assert (planted.folder / "bomb.val").exists(), "files that we did not make are not ours to delete"


def test_a_planted_row_is_expired_and_culled_without_harm(planted: Planted) -> None:
    _run_sql(planted.folder, "UPDATE Cache SET expire_time = 1, store_time = 1 WHERE key != 'good'")
    with closing(ResponseCache(planted.folder, ttl_s=3600)) as cache:
        assert cache.prune() == 1
    _run_sql(planted.folder, "UPDATE Cache SET expire_time = NULL")
    with closing(ResponseCache(planted.folder, ttl_s=3600, size_limit=1)) as cache:
        cache.put("more", ANSWER)
    assert not planted.harmed()


def test_a_planted_row_is_refused_by_the_disk_itself(planted: Planted) -> None:
    """We read past diskcache; whoever should once read through it is as safe."""
    with SafeCache(planted.folder, timeout_s=2, size_limit=2**30) as cache:
        assert cache.get(KEY) is None
        assert cache.get("good") == encode(ANSWER)
        try:
            keys = list(cache)
        except OSError:
            keys = []
        assert b"" not in keys
        assert cache.clear() == 2
    assert not planted.harmed()


def test_the_disk_takes_nothing_but_text() -> None:
    disk = SafeDisk("unused", min_file_size=0, pickle_protocol=5)
    for key in (1, 1.0, b"k", ("k",), None):
        with pytest.raises(TypeError):
            disk.put(key)
        with pytest.raises(TypeError):
            disk.store(key, False)
    assert disk.store("x" * 100_000, False)[2] is None, "no value is large enough for a file"
    with pytest.raises(TypeError):
        disk.store("text", True)


_SETTINGS = {
    "another folder": ("_directory", "elsewhere"),
    "a pragma": ("sqlite_user_version", 7),
    "a journal": ("sqlite_journal_mode", "delete"),
    "two statements": ("sqlite_user_version = 7; --", 7),
    "files for values": ("disk_min_file_size", 0),
    "a method of the disk": ("disk_store", "x"),
    "a method of the cache": ("set", "x"),
    "a full cache": ("size", 2**50),
    "a small cache": ("size_limit", 1),
    "statistics": ("statistics", 1),
    "a policy that writes while reading": ("eviction_policy", "least-recently-used"),
    "a policy that is none": ("eviction_policy", "x"),
    "a page of another size": ("_page_size", 2**40),
    "text for a number": ("count", "x"),
}


@pytest.mark.parametrize("name", _SETTINGS)
def test_planted_settings_have_no_say(name: str, folder: Path, tmp_path: Path) -> None:
    key, value = _SETTINGS[name]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with closing(ResponseCache(folder, ttl_s=3600)) as cache:
        cache.put(KEY, ANSWER)
    planted = str(elsewhere) if value == "elsewhere" else value
    _run_sql(folder, "INSERT OR REPLACE INTO Settings VALUES (?, ?)", (key, planted))
    with closing(ResponseCache(folder, ttl_s=3600)) as cache:
        for index in range(15):
            cache.put(f"{index:064x}", replace(ANSWER, text="x" * 50_000))
        assert cache.prune() == 0
        assert cache.stats().entries == 16
        assert cache.get(KEY) == ANSWER
        assert _run_sql(folder, "PRAGMA user_version") == [[(0,)]]
        assert _run_sql(folder, "PRAGMA journal_mode") == [[("wal",)]]
        assert {path.name for path in folder.iterdir()} == {"cache.db", "cache.db-wal", "cache.db-shm"}
        assert cache.clear() == 16
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO Settings VALUES (CAST('sqlite_x' AS BLOB), 1)",
        "DROP TABLE Settings; CREATE TABLE Settings (a, b, c)",
        "DROP TABLE Cache; CREATE TABLE Cache (a)",
        "DROP TABLE Cache; CREATE VIEW Cache AS SELECT 1 AS key, 1 AS raw, 'x' AS value, 9e9 AS expire_time",
    ],
)
def test_tables_that_are_not_ours_lose_no_answer_and_are_cleared(statement: str, folder: Path) -> None:
    with closing(ResponseCache(folder, ttl_s=3600)) as cache:
        cache.put(KEY, ANSWER)
    with closing(sqlite3.connect(folder / "cache.db")) as connection:
        connection.executescript(statement)
    with closing(ResponseCache(folder, ttl_s=3600)) as cache:
        assert cache.get(KEY) in (None, ANSWER)
        with pytest.raises(StorageError, match=r"is damaged .*'llmswitch cache clear'"):
            cache.put(KEY, ANSWER)
        assert cache.clear() is None
        cache.put(KEY, ANSWER)
        assert cache.get(KEY) == ANSWER


# ---------------------------------------------------------------- broken


def _usable_again(cache: ResponseCache) -> None:
    cache.put(KEY, ANSWER)
    assert cache.get(KEY) == ANSWER


def test_a_file_that_is_no_database_is_named_and_can_be_cleared(folder: Path, cache: ResponseCache) -> None:
    folder.mkdir()
    (folder / "cache.db").write_bytes(b"not a database " * 1000)
    (folder / "mine.txt").touch()
    for call in (lambda: cache.get(KEY), lambda: cache.put(KEY, ANSWER), cache.stats, cache.prune):
        with pytest.raises(StorageError, match=r"is damaged \(file is not a database\).*'llmswitch cache clear'"):
            call()
    assert cache.clear() is None
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    _usable_again(cache)


def test_torn_pages_are_named_and_can_be_cleared(folder: Path, cache: ResponseCache) -> None:
    for index in range(50):
        cache.put(f"{index:064x}", ANSWER)
    cache.close()
    size = (folder / "cache.db").stat().st_size
    with open(folder / "cache.db", "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with pytest.raises(StorageError, match=r"is damaged"):
        cache.get(f"{0:064x}")
    with pytest.raises(StorageError, match=r"is damaged"):
        cache.put(KEY, ANSWER)
    assert cache.clear() is None
    _usable_again(cache)


@pytest.mark.parametrize("value", ["not json", "{}", '{"v":0,"text":"old"}', '{"v":2,"text":5}'])
def test_a_row_that_is_no_answer_is_named_and_overwritten(value: str, folder: Path, cache: ResponseCache) -> None:
    cache.put(KEY, ANSWER)
    _run_sql(folder, "UPDATE Cache SET value = ?", (value,))
    with pytest.raises(StorageError, match="an answer in it cannot be read"):
        cache.get(KEY)
    _usable_again(cache)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_bytes_are_damaged_it_works_or_is_a_storage_error(folder: Path, seed: int) -> None:
    with closing(ResponseCache(folder, ttl_s=3600)) as cache:
        for index in range(4):
            cache.put(f"{index:064x}", ANSWER)
    database = folder / "cache.db"
    content, rng = bytearray(database.read_bytes()), random.Random(seed)  # noqa: S311 - repeatable, no secret
    written = [place for place, byte in enumerate(content) if byte]
    for place in rng.sample(written[: len(written) // rng.choice((1, 8))], 20):
        content[place] = rng.randrange(256)
    database.write_bytes(content)
    with closing(ResponseCache(folder, ttl_s=3600)) as cache:
        for use in (cache.stats, lambda: cache.get(KEY), lambda: cache.put(KEY, ANSWER), cache.prune, cache.clear):
            with suppress(StorageError):
                use()


def test_a_damaged_message_of_sqlite_s_own_is_a_storage_error(folder: Path, cache: ResponseCache) -> None:
    cache.put(KEY, ANSWER)
    cache.close()
    database = folder / "cache.db"
    database.write_bytes(database.read_bytes().replace(b"CREATE TABLE Cache", b"CREATE \xff\xfeBLE Cache"))
    with pytest.raises(StorageError, match="llmswitch cache clear"):
        cache.get(KEY)
    assert cache.clear() is None
    _usable_again(cache)


def test_an_answer_nested_too_deep_is_named(folder: Path, cache: ResponseCache) -> None:
    cache.put(KEY, ANSWER)
    _run_sql(folder, "UPDATE Cache SET value = ?", ("[" * 100_000,))
    with pytest.raises(StorageError, match="damaged"):
        cache.get(KEY)


def test_a_new_database_that_has_no_table_yet_is_a_miss(folder: Path, cache: ResponseCache) -> None:
    folder.mkdir()
    (folder / "cache.db").touch()
    assert cache.get(KEY) is None
    assert cache.stats().entries == 0


@pytest.mark.skipif(os.name != "posix", reason="no pipes with a name, links only for some")
@pytest.mark.parametrize("kind", ["pipe", "link", "dangling link"])
def test_what_is_not_a_file_is_neither_waited_for_nor_written_through(kind: str, folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    target = tmp_path / "theirs.db"
    if kind == "pipe":
        os.mkfifo(folder / "cache.db")
    else:
        (folder / "cache.db").symlink_to(target)
    if kind == "link":
        with closing(sqlite3.connect(target)) as connection:
            connection.execute("CREATE TABLE theirs (x)")
    before = target.read_bytes() if target.exists() else None
    with closing(ResponseCache(folder, ttl_s=60)) as cache:
        if kind == "pipe":
            with pytest.raises(StorageError, match="is not a file"):
                cache.get(KEY)
        else:
            assert cache.get(KEY) is None
        with pytest.raises(StorageError, match="is not a file"):
            cache.put(KEY, ANSWER)
        assert (target.read_bytes() if target.exists() else None) == before
        assert cache.clear() is None
        _usable_again(cache)
    assert (target.read_bytes() if target.exists() else None) == before


@pytest.mark.skipif(os.name != "posix", reason="links only for some")
def test_an_event_loop_writes_through_no_link_either(folder: Path, cache: ResponseCache, tmp_path: Path) -> None:
    with closing(ResponseCache(tmp_path / "theirs", ttl_s=60)) as theirs:
        theirs.put("cd" * 32, ANSWER)
        cache.put("cd" * 32, ANSWER)
        cache.close()
        (folder / "cache.db").unlink()
        (folder / "cache.db").symlink_to(theirs.folder / "cache.db")
        with closing(cache.quick()) as quick, pytest.raises(StorageError, match="is not a file"):
            quick.put(KEY, ANSWER)
        assert theirs.get(KEY) is None


def test_a_folder_in_the_database_s_place_is_named_and_stays(folder: Path, cache: ResponseCache) -> None:
    (folder / "cache.db").mkdir(parents=True)
    for call in (lambda: cache.get(KEY), lambda: cache.put(KEY, ANSWER), cache.clear):
        with pytest.raises(StorageError, match="cannot be used"):
            call()
    assert (folder / "cache.db").is_dir()


def test_a_file_in_the_folder_s_place_is_named(folder: Path, cache: ResponseCache) -> None:
    folder.write_text("mine", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot be used"):
        cache.put(KEY, ANSWER)
    with pytest.raises(StorageError, match="Not a directory"):
        cache.get(KEY)
    assert folder.read_text(encoding="utf-8") == "mine"


@contextmanager
def _child(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Another process with our package; it is killed at the end."""
    environment = {**os.environ, "PYTHONPATH": str(Path(llmswitch.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


_LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA locking_mode = EXCLUSIVE")
connection.execute("BEGIN EXCLUSIVE")
connection.execute("INSERT INTO Settings VALUES ('x', 1)")
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_database_that_another_process_locked_is_given_up_soon(folder: Path, cache: ResponseCache) -> None:
    cache.put(KEY, ANSWER)
    cache.close()
    with _child(_LOCKER, folder / "cache.db") as locker:
        assert locker.stdout is not None
        assert locker.stdout.readline() == "locked\n"
        started = time.monotonic()
        with pytest.raises(StorageError, match="another process has it locked"):
            cache.get(KEY)
        with pytest.raises(StorageError, match="another process has it locked"):
            cache.clear()
        assert time.monotonic() - started < 15, "diskcache's own patience is 60 s"
    assert cache.get(KEY) == ANSWER, "a lock does not make a database one to throw away"


_WRITE_LOCKER = _LOCKER.replace('connection.execute("PRAGMA locking_mode = EXCLUSIVE")\n', "")


def test_an_open_cache_reads_on_while_another_process_writes(folder: Path, cache: ResponseCache) -> None:
    cache.put(KEY, ANSWER)
    with _child(_WRITE_LOCKER, folder / "cache.db") as locker:
        assert locker.stdout is not None
        assert locker.stdout.readline() == "locked\n"
        assert cache.get(KEY) == ANSWER
        with pytest.raises(StorageError, match="another process has it locked"):
            cache.put(KEY, ANSWER)
    _usable_again(cache)


@contextmanager
def _without_root() -> Iterator[None]:
    """Permission bits do not stop root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(os.name != "posix", reason="no permission bits")
@pytest.mark.parametrize("filled", [False, True])
def test_a_folder_that_cannot_be_written_is_named(filled: bool) -> None:
    with tempfile.TemporaryDirectory() as name:  # not tmp_path: nobody but root gets there where root runs the tests
        folder = Path(name)
        folder.chmod(0o755)
        with closing(ResponseCache(folder / "responses", ttl_s=3600)) as cache:
            if filled:
                cache.put(KEY, ANSWER)
                cache.close()
            for path in (*folder.glob("responses"), folder):
                path.chmod(0o555)
            with _without_root():
                with pytest.raises(
                    StorageError, match=r"cannot be used: .*(denied|not permitted|readonly|unable to open)"
                ):
                    cache.put(KEY, ANSWER)
                with pytest.raises(StorageError, match=r"asked twice: .*(denied|not permitted)"):
                    cache.claim(KEY)
        for path in (folder, *folder.glob("responses")):
            path.chmod(0o755)


_FULL_DISK = """
import resource, sys
from dataclasses import replace
from pathlib import Path
from llmswitch.answers import decode
from llmswitch.cache import ResponseCache
from llmswitch.errors import StorageError

answer = replace(decode(sys.argv[2]), text="x" * 50_000)
cache = ResponseCache(Path(sys.argv[1]), ttl_s=3600)
cache.put("first", answer)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
try:
    for index in range(100):
        cache.put(str(index), answer)
except StorageError as error:
    print(error.message)
print(cache.get("first") == answer)
print(cache.clear())
cache.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no RLIMIT_FSIZE")
def test_a_full_disk_is_named_and_what_was_stored_stays(folder: Path) -> None:
    with _child(_FULL_DISK, folder, encode(ANSWER)) as child:
        out, _ = child.communicate(timeout=60)
    message, first, cleared = out.splitlines()
    assert "cannot be used" in message
    assert "full" in message or "I/O" in message
    assert "damaged" not in message
    assert first == "True"
    assert cleared == "None" or int(cleared) > 0
    assert child.returncode == 0


_KILLED = """
import os, sys
from pathlib import Path
from llmswitch.answers import decode
from llmswitch.cache import ResponseCache
ResponseCache(Path(sys.argv[1]), ttl_s=3600).put(sys.argv[2], decode(sys.argv[3]))
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(os.name != "posix", reason="no SIGKILL")
def test_what_a_killed_process_stored_is_read(folder: Path, cache: ResponseCache) -> None:
    with _child(_KILLED, folder, KEY, encode(ANSWER)) as child:
        assert child.wait(60) == -9
    assert (folder / "cache.db-wal").stat().st_size > 0, "it is still in the log that nobody wrote back"
    assert cache.get(KEY) == ANSWER


_IMPORTS = """
import sys, time
from pathlib import Path
from llmswitch.cache import ResponseCache, lookup
assert lookup(ResponseCache(Path(sys.argv[1]), ttl_s=3600), sys.argv[2], time.monotonic).cached
print(sorted({"asyncio", "diskcache", "filelock", "openai", "httpx2", "pydantic", "rich"} & sys.modules.keys()))
"""


def test_reading_an_answer_imports_nothing_heavy(folder: Path, cache: ResponseCache) -> None:
    cache.put(KEY, ANSWER)
    with _child(_IMPORTS, folder, KEY) as child:
        out, _ = child.communicate(timeout=60)
    assert out == "[]\n"
