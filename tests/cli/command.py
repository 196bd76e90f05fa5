"""Runs the installed command in a process of its own, and fills ledgers for it."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

from llmswitch.ledger import Caller, CallRow, Ledger, call_row
from llmswitch.types import Cost, Response, Timing, Usage

_GUARD = Path(__file__).parents[1] / "guard"


def run(home: Path, *arguments: str, zone: str = "UTC", **environ: str) -> subprocess.CompletedProcess[str]:
    """`llmswitch ARGUMENTS` with LLMSWITCH_HOME at `home`, in time zone `zone`."""
    ambient = {name: value for name, value in os.environ.items() if name in ("PATH", "COVERAGE_PROCESS_START")}
    own = {"LLMSWITCH_HOME": str(home), "TZ": zone, "PYTHONPATH": str(_GUARD), "LLMSWITCH_TEST_GUARD": "1"}
    return subprocess.run(
        [sys.executable, "-m", "llmswitch", *arguments],
        env={**ambient, **own, **environ},
        cwd=home.parent,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def ledger_of(home: Path) -> Path:
    """Where the command keeps its ledger under `home`."""
    return home / "data" / "ledger.db"


def row(
    *,
    at: float = 1_000_000.0,
    model: str = "gpt-6-luna",
    provider: str = "openai",
    cost: str | None = "0.001",
    exact: bool = True,
    tokens: tuple[int, int] | None = (10, 5),
    caller: Caller | None = None,
    first_token_s: float | None = 0.1,
) -> CallRow:
    """The row of a call that was answered; `cost` None is an unknown price."""
    response = Response(
        provider=provider,
        request_model=model,
        text="",
        finish_reason="stop",
        usage=Usage(*tokens) if tokens else Usage(),
        cost=None if cost is None else Cost(Decimal(cost), "genai-prices 0.2.3", exact),
        timing=Timing(first_token_s),
        duration_s=0.5,
    )
    return call_row(caller or Caller("ask", provider), response, started_at=at)


def fill(home: Path, *rows: CallRow) -> None:
    """Record `rows` under `home`."""
    ledger = Ledger(ledger_of(home))
    for each in rows:
        ledger.record(each)
