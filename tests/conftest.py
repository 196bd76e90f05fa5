"""What every test stands on: no address but this machine's, and a home of its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guard.sitecustomize import refuse_all_but_loopback


@pytest.fixture(autouse=True, scope="session")
def _loopback_only() -> Iterator[None]:
    """No test reaches a real vendor; the installed command's processes get the same guard through PYTHONPATH."""
    before = (socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo)
    refuse_all_but_loopback()
    yield
    socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo = before  # type: ignore[method-assign]  # undoing the guard


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder for LLMSWITCH_HOME."""
    return tmp_path / "home"
