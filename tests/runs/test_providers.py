"""What vendors are said to take, held against what is known otherwise."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from llmswitch.errors import ConfigError
from llmswitch.pricing import Prices
from llmswitch.profiles import Settings, load_settings
from llmswitch.providers import find_vendor, vendor_names
from llmswitch.runs.prices import price_rows


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(cwd=tmp_path, environ={"LLMSWITCH_HOME": str(tmp_path), "LLM_ENDPOINTS": "team"})


def test_no_vendor_is_said_to_lack_what_its_price_list_sells(settings: Settings) -> None:
    seen = 0
    for name in vendor_names(settings):
        vendor = find_vendor(name, settings)
        if vendor.default_model is None:
            continue
        for row in price_rows(settings, Prices(), [f"{name}:{vendor.default_model}"], time.time()):
            if row.batch is not None:
                assert vendor.offers.batch, name
                seen += 1
            if row.rates is not None and "cache_read" in row.rates.base:
                assert vendor.offers.caching, name
                seen += 1
    assert seen >= 6


def test_of_a_server_that_nobody_knows_nothing_is_said(settings: Settings) -> None:
    assert set(find_vendor("team", settings).offers) == {None}
    with pytest.raises(ConfigError):
        find_vendor("nobody", settings)
