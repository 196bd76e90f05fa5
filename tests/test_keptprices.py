from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from llmswitch.errors import MalformedError
from llmswitch.keptprices import KeptPrices, accepted, keep, packaged, parsed
from llmswitch.pricing import PriceKey, Prices, load_prices
from llmswitch.profiles import load_settings
from llmswitch.types import Usage
from tests.pricelists import as_published, changed

_AT = 1_795_000_000.0
_KEY = PriceKey("openai", "gpt-4o", "gpt-4o")


@pytest.fixture(scope="module")
def published() -> list[dict[str, Any]]:
    return as_published()


def _bytes(document: object) -> bytes:
    return json.dumps(document).encode()


def _model(document: list[dict[str, Any]], provider: str, name: str) -> dict[str, Any]:
    models = next(one for one in document if one["id"] == provider)["models"]
    found: dict[str, Any] = next(model for model in models if model["id"] == name)
    return found


def test_the_published_form_says_what_the_packaged_list_says(published: list[dict[str, Any]]) -> None:
    for ours, theirs in zip(accepted(_bytes(published), "x"), packaged().providers, strict=True):
        assert (ours.id, ours.models) == (theirs.id, theirs.models)


def test_a_kept_list_is_private_and_prices_calls(tmp_path: Path, published: list[dict[str, Any]]) -> None:
    cheaper = changed(published, "openai", "gpt-4o", {"input_mtok": 0.5, "output_mtok": 1.0})
    path = tmp_path / "data" / "price-list.json"
    keep(path, _bytes(cheaper), origin="a test", fetched_at=_AT)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    prices = load_prices(load_settings(cwd=tmp_path, environ={"LLMSWITCH_HOME": str(tmp_path)}))
    cost = prices.cost(Usage(1000, 100), _KEY, _AT)
    assert cost is not None
    # 1,000 at 0.5 and 100 at 1
    assert (str(cost.amount), cost.source) == ("0.000600000000", "genai-prices of 2026-11-18")
    # what it says of other models is what it said
    other = PriceKey("openai", "gpt-5", "gpt-5", batch=True)
    same = Prices().cost(Usage(10, 10), other, _AT)
    assert same is not None
    assert prices.cost(Usage(10, 10), other, _AT) == same._replace(source=cost.source)


def _damage(kind: str, path: Path) -> None:
    whole = path.read_bytes()
    line, _, rest = whole.partition(b"\n")
    damaged = {
        "empty": b"",
        "cut": whole[:-100],
        "a changed price": whole.replace(b"2.5", b"0.5", 1),
        "no head": rest,
        "a head of another kind": b'{"a": 1}\n' + rest,
        "nonsense": b"\xff\x00" * 1000,
        "head alone": line,
    }
    path.write_bytes(damaged[kind])


@pytest.mark.parametrize(
    "kind", ["empty", "cut", "a changed price", "no head", "a head of another kind", "nonsense", "head alone"]
)
def test_a_damaged_list_is_told_once_and_the_packaged_one_counts(
    tmp_path: Path, published: list[dict[str, Any]], kind: str
) -> None:
    path = tmp_path / "price-list.json"
    keep(path, _bytes(published), origin="a test", fetched_at=_AT)
    _damage(kind, path)
    told: list[str] = []
    prices = Prices(kept=KeptPrices.at(path, told.append))
    for _ in range(3):
        assert prices.cost(Usage(10, 10), _KEY, _AT) == Prices().cost(Usage(10, 10), _KEY, _AT)
    assert len(told) == 1
    assert "the packaged prices are used" in told[0]
    assert "cost prices --update" in told[0]
    assert str(path) in told[0]


def test_a_list_kept_anew_is_read_anew(tmp_path: Path, published: list[dict[str, Any]]) -> None:
    path, amounts = tmp_path / "price-list.json", []
    for rate in (1, 20):
        keep(
            path,
            _bytes(changed(published, "openai", "gpt-4o", {"input_mtok": rate, "output_mtok": 1})),
            origin="x",
            fetched_at=_AT,
        )
        cost = Prices(kept=KeptPrices.at(path, print)).cost(Usage(10**6, 0), _KEY, _AT)
        amounts.append(cost and cost.amount)
    assert amounts == [1, 20]


def test_without_a_kept_list_there_is_none(tmp_path: Path) -> None:
    assert KeptPrices.at(tmp_path / "none.json", print) is None


_BAD_PRICES = [
    ({"input_mtok": -1, "output_mtok": 1}, "openai:gpt-4o: input_mtok is -1, which is no price"),
    ({"input_mtok": 10**7, "output_mtok": 1}, "is 10000000, which is no price"),
    ({"input_mtok": "NaN", "output_mtok": 1}, "no list of prices"),
    ({"input_mtok": "one", "output_mtok": 1}, "no list of prices"),
    ({"input_mtok": {"base": 1, "tiers": [{"start": 10, "price": -2}]}, "output_mtok": 1}, "is -2, which is no price"),
    ({"input_mtok": {"base": 1, "tiers": [{"start": -1, "price": 2}]}, "output_mtok": 1}, "steps out of order"),
]


@pytest.mark.parametrize(("prices", "complaint"), _BAD_PRICES, ids=[case[1] for case in _BAD_PRICES])
def test_a_list_with_a_price_that_is_none_is_refused(
    published: list[dict[str, Any]], prices: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(MalformedError, match=complaint):
        accepted(_bytes(changed(published, "openai", "gpt-4o", prices)), "the file")


def test_a_negative_batch_rate_is_refused_too(published: list[dict[str, Any]]) -> None:
    document = changed(published, "openai", "gpt-4o", {"input_mtok": 1, "output_mtok": 1})
    _model(document, "openai", "gpt-4o")["price_variants"] = [
        {"when": {"processing": "batch"}, "prices": {"input_mtok": -0.5}}
    ]
    with pytest.raises(MalformedError, match=r"input_mtok is -0\.5"):
        accepted(_bytes(document), "the file")


def test_a_list_of_another_size_is_refused(published: list[dict[str, Any]]) -> None:
    fewer = [one for one in published if one["id"] in ("openai", "anthropic", "google", "azure")]
    with pytest.raises(MalformedError, match=r"it has 4 providers, the packaged one \d+"):
        accepted(_bytes(fewer), "the file")
    emptied = [{**one, "models": one["models"][:3]} for one in published]
    with pytest.raises(MalformedError, match=r"it has \d+ models, the packaged one [0-9,]+"):
        accepted(_bytes(emptied), "the file")
    many = [{**one, "id": f"{one['id']}-{n}"} for n in range(5) for one in published]
    with pytest.raises(MalformedError, match=r"it has \d+ providers"):
        accepted(_bytes(many), "the file")


def test_a_list_without_one_of_the_vendors_is_refused(published: list[dict[str, Any]]) -> None:
    with pytest.raises(MalformedError, match="anthropic is missing"):
        accepted(_bytes([one for one in published if one["id"] != "anthropic"]), "the file")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"<html>Not found</html>",
        b"{" + b" " * 60_000 + b"}",
        b"[" * 100_000,
        b"[1, 2]" + b" " * 60_000,
        b'[{"id": "a"}]' + b" " * 60_000,
        b"\xff\xfe" * 40_000,
    ],
    ids=["nothing", "a page", "an object", "a nesting", "numbers", "no fields", "bytes"],
)
def test_what_is_no_list_is_refused(payload: bytes) -> None:
    with pytest.raises(MalformedError, match="no list of prices"):
        accepted(payload, "the file")


def test_a_list_over_20_mb_is_refused() -> None:
    with pytest.raises(MalformedError, match="over 20 MB"):
        accepted(b" " * 20_000_001, "the file")


def test_a_pattern_that_does_not_compile_is_refused(published: list[dict[str, Any]]) -> None:
    document = changed(published, "openai", "gpt-4o", {"input_mtok": 1, "output_mtok": 1})
    for pattern in ("(", "a" * 2000, "^([a-z0-9.-]+)+$X", "(a|a){40}$X", "a?" * 30 + "a" * 30, ".*.*.*.*$X"):
        _model(document, "openai", "gpt-4o")["match"] = {"or": [{"regex": pattern}]}
        with pytest.raises(MalformedError, match="no list of prices"):
            accepted(_bytes(document), "the file")


def test_a_unit_of_later_versions_is_left_out(published: list[dict[str, Any]]) -> None:
    document = changed(published, "openai", "gpt-4o", {"input_mtok": 1, "output_mtok": 2, "smell_mtok": 3})
    found = next(one for one in parsed(_bytes(document), "x") if one.id == "openai").find_model("gpt-4o")
    assert found is not None
    assert set(vars(found.prices)) == {"input_mtok", "output_mtok"}
