"""Debian's Chromium, in which the pages are looked at; without it these tests skip."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

Show = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One a module: Playwright's event loop runs in this thread until it is closed, and other tests bring their own."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        yield browser
        browser.close()


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Show]:
    """Opens a document's source as a page; whatever was shown must have asked for nothing and complained of nothing."""
    happened: list[str] = []
    opened: list[Page] = []

    def shown(source: str, *, width: int = 1280, dark: bool = False, **context: Any) -> Page:
        path = tmp_path / f"page{len(opened)}.html"
        path.write_text(source, encoding="utf-8")
        page = browser.new_page(
            viewport={"width": width, "height": 844 if width < 800 else 800},
            color_scheme="dark" if dark else "light",
            **context,
        )
        page.set_default_timeout(10_000)
        opened.append(page)
        page.on("request", lambda request: happened.append(request.url) if request.url != path.as_uri() else None)
        page.on("console", lambda message: happened.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: happened.append(str(error)))
        page.on("popup", lambda popup: happened.append(f"opened {popup.url}"))
        page.on("dialog", lambda dialog: happened.append(f"dialog {dialog.message}"))
        page.on("framenavigated", lambda frame: happened.append(frame.url) if frame.url != path.as_uri() else None)
        page.goto(path.as_uri())
        return page

    yield shown
    for page in opened:
        page.close()
    assert happened == []
