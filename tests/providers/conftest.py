"""Servers that no adapter's test should have to build twice."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from llmock.simulation import MockResponseSettings
from llmock.testing import LLMockServer


@pytest.fixture
def full_listener() -> Iterator[str]:
    """An address that takes no connection: its listener's queue is full, so that connecting waits without end."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for filler in fillers:
                filler.close()


@pytest.fixture(scope="session")
def _running_mock() -> Iterator[LLMockServer]:
    with LLMockServer(responses=MockResponseSettings(response_style="static")) as running:
        yield running


@pytest.fixture
def mock(_running_mock: LLMockServer) -> Iterator[LLMockServer]:
    """llmock, with nothing of an earlier test in it."""
    yield _running_mock
    _running_mock.state.reset()
