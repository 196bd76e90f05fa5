"""The service of docs/library.md, run as it stands there: real HTTP before it and behind it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.servers.vendors import Behaviour, Vendors

DOCUMENT = Path(__file__).parents[1] / "docs" / "library.md"


@contextmanager
def service(folder: Path, vendors: Vendors, **more: str) -> Iterator[httpx2.Client]:
    """The documented app on a port of its own."""
    found = re.search(r"<!-- tests/test_library.py .*?```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    (folder / "service.py").write_text(found[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {
        "PATH": os.environ["PATH"],
        "LLMSWITCH_HOME": str(folder / "home"),
        **vendors.environ,
        "LLM_PROVIDER": "openai",
        **more,
    }
    command = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(command, cwd=folder, env=environ)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                try:
                    client.get("/docs")
                    break
                except httpx2.TransportError:
                    time.sleep(0.05)
            yield client
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (0, -signal.SIGINT, 130)


def test_the_documented_service_answers_many_at_once_and_streams(tmp_path: Path) -> None:
    with Vendors() as vendors, service(tmp_path, vendors) as client:
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda n: client.post("/summary", json={"text": f"ticket {n}"}), range(16)))
        assert {reply.status_code for reply in replies} == {200}
        assert replies[0].json()["summary"] == "Paris is the capital."
        assert replies[0].json()["provider"] == "openai"
        streamed = client.post("/summary/stream", json={"text": "another"})
        assert streamed.text == "Paris is the capital."


def test_an_outage_of_one_vendor_is_an_answer_from_the_next(tmp_path: Path) -> None:
    down = {"gpt-4o": Behaviour(status=503)}
    with Vendors(down) as vendors, service(tmp_path, vendors, LLM_FALLBACK="gemini") as client:
        reply = client.post("/summary", json={"text": "x"})
        assert (reply.status_code, reply.json()["provider"]) == (200, "gemini")


def test_a_spent_budget_and_a_dead_vendor_are_answers_of_their_own(tmp_path: Path) -> None:
    with Vendors({"gpt-4o": Behaviour(status=400)}) as vendors, service(tmp_path, vendors) as client:
        assert client.post("/summary", json={"text": "x"}).status_code == 502
    with Vendors() as vendors, service(tmp_path, vendors, LLM_BUDGET_DAILY="0") as client:
        assert client.post("/summary", json={"text": "x"}).status_code == 503
        assert vendors.asked == []
