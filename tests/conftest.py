"""What every test stands on: no address but this machine's, and a home of its own."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from llmswitch.weights import DEFAULT_MODEL, MODELS, pull
from tests.guard.sitecustomize import refuse_all_but_loopback
from tests.servers.redis import RedisServer, missing


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where LLMSWITCH_TEST_ALL is set, as in CI, a test that skips itself has failed: something is not installed."""
    report = yield
    if os.environ.get("LLMSWITCH_TEST_ALL") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under LLMSWITCH_TEST_ALL: {report.longrepr}"
    return report


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c() -> None:
    """What a shell starts in the background has SIGINT ignored: tests of Ctrl-C would wait for ever."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the embedded model's real weights, fetched once; LLMSWITCH_TEST_MODELS keeps them between runs."""
    kept = os.environ.get("LLMSWITCH_TEST_MODELS")
    # one for all workers of pytest-xdist, whose pulls wait for each other
    base = tmp_path_factory.getbasetemp()
    folder = Path(kept) if kept else (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "models"
    pull(folder, MODELS[DEFAULT_MODEL], environ=os.environ)
    return folder


@pytest.fixture
def home_with_model(home: Path, models: Path) -> Path:
    """A folder for LLMSWITCH_HOME in which the embedded model is there."""
    (home / "data").mkdir(parents=True, mode=0o700)
    (home / "data" / "models").symlink_to(models)
    return home


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A running redis-server without password and TLS; skips where none is installed."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with RedisServer() as server:
        yield server
