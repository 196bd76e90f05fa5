"""What a report takes on a million calls: `python -m benchmarks.cost_report [--rows N] [--ledger FILE]`.

The ledger is generated (or FILE, a generated one, is used again). In one run, one after another:

- *SQLite*: its own aggregate over the same table, the same sums by the same keys;
- `cost_report`, which adds the total, the days of each group and the median duration; as a ratio to SQLite's;
- whether every total is the sum of the rows, to the last digit, also after a prune of all but five days;
- the same with 8 processes that write as fast as they can: a report must see whole calls, and no writer may fail.

Target: no more than twice SQLite's time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from llmswitch.database import opened
from llmswitch.ledger import Caller, CallRow, Ledger, from_pico
from llmswitch.runs.cost import CostReport, cost_report
from llmswitch.runs.forgetting import forget
from llmswitch.tallies import DAYS, KEYS, from_calls
from llmswitch.types import Cost, Usage

_MODELS = (
    ("openai", "gpt-4o", 10_000_000),
    ("anthropic", "claude-sonnet-4-5", 30_000_000),
    ("gemini", "gemini-2.5-flash", 2_000_000),
    ("team", "llama-70b", None),
)
_BY = (("day", "provider", "model"), ("provider",), ("profile", "command"))
_ATTEMPTS = '[{"provider": "openai", "model": "m", "outcome": "ok", "status": 200, "duration_s": 1.2}]'
_COLUMNS = (
    *("started_at", "command", "profile", "target", "provider", "request_model", "input_tokens", "output_tokens"),
    *("cache_read_input_tokens", "usage_estimated", "cost_pico", "cost_exact", "time_to_first_token_s", "duration_s"),
    *("attempts", "finish_reason", "cached"),
)


def generate(path: Path, rows: int) -> None:
    """A month of calls."""
    drawn, end = random.Random(1), time.time()  # noqa: S311  # repeatable, no secret

    def made() -> Iterator[tuple[object, ...]]:
        for number in range(rows):
            provider, model, rate = _MODELS[drawn.randrange(4)]
            asked, answered = drawn.randrange(2000), drawn.randrange(500)
            yield (
                end - 30 * 86_400 * (1 - number / rows),
                drawn.choice(("ask", "bench", "compare")),
                drawn.choice((None, "production")),
                *(provider, provider, model, asked, answered, asked // 3, False),
                None if rate is None else rate * (asked + 4 * answered) // 4,
                *(True, drawn.random(), drawn.lognormvariate(0, 1), _ATTEMPTS, "stop", False),
            )

    with opened(path) as connection:
        connection.execute("BEGIN")
        marks = ", ".join("?" * len(_COLUMNS))
        connection.executemany(f"INSERT INTO calls ({', '.join(_COLUMNS)}) VALUES ({marks})", made())  # noqa: S608
        connection.execute("COMMIT")


def sqlites_own(path: Path, by: tuple[str, ...]) -> float:
    """Seconds for the sums by these keys."""
    keys = ", ".join(DAYS if key == "day" else KEYS[key] for key in by)
    began = time.perf_counter()
    with opened(path) as connection:
        connection.execute(f"SELECT {keys}, {from_calls()} FROM calls GROUP BY {keys}").fetchall()  # noqa: S608
    return time.perf_counter() - began


def reported(path: Path, by: tuple[str, ...]) -> tuple[float, CostReport]:
    """Seconds, and the report."""
    began = time.perf_counter()
    found = cost_report(path, by=by, since=None, until=None)
    return time.perf_counter() - began, found


def summed(path: Path) -> Decimal:
    """What all rows come to, one by one."""
    with opened(path) as connection:
        return from_pico(sum(pico for (pico,) in connection.execute("SELECT cost_pico FROM calls") if pico is not None))


def write(path: Path, seconds: float) -> int:
    """Calls of one picodollar each, as fast as they go; how many."""
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        Ledger(path).record(
            CallRow(
                caller=Caller("ask", "openai"),
                started_at=time.time(),
                provider="openai",
                request_model="gpt-4o",
                usage=Usage(1, 1),
                finish_reason="stop",
                duration_s=0.1,
                cost=Cost(Decimal("1e-12"), "benchmark"),
            )
        )
        count += 1
    return count


def beside_writers(path: Path) -> None:
    """A reader, and eight who write."""
    before = cost_report(path, by=("provider",), since=None, until=None).total
    with multiprocessing.get_context("spawn").Pool(8) as pool:
        writers = [pool.apply_async(write, (path, 20.0)) for _ in range(8)]
        reads = 0
        while not all(writer.ready() for writer in writers):
            _, found = reported(path, ("provider",))
            more = found.total.calls - before.calls
            whole = (found.total.cost or Decimal(0)) - (before.cost or Decimal(0)) == more * Decimal("1e-12")
            parts = sum((row.cost or Decimal(0) for row in found.rows), Decimal(0)) == found.total.cost
            if not (whole and parts):
                raise SystemExit(f"a report saw half a call: {found.total}")
            reads += 1
        written = sum(writer.get() for writer in writers)
    after = cost_report(path, by=("provider",), since=None, until=None).total
    lost = before.calls + written - after.calls
    print(f"8 writers: {written:,} calls in 20 s beside {reads} reports, each of them whole; {lost} lost")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--ledger", type=Path, help="a ledger that an earlier run has left here, or where to leave one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        if options.ledger is not None and options.ledger.exists():
            shutil.copy(options.ledger, path)
        else:
            generate(path, options.rows)
            if options.ledger is not None:
                shutil.copy(path, options.ledger)
        with sqlite3.connect(path) as connection:
            (rows,) = connection.execute("SELECT count(*) FROM calls").fetchone()
        print(f"{rows:,} calls")
        for by in _BY:
            own = sqlites_own(path, by)
            ours, found = reported(path, by)
            print(f"  by {', '.join(by):<20} SQLite {own:5.2f} s  report {ours:5.2f} s  {ours / own:.2f} of it")
        exact = summed(path)
        same = "equal" if exact == found.total.cost else "UNEQUAL"
        print(f"  total {found.total.cost}, rows one by one {exact}: {same}")
        beside_writers(path)
        total = cost_report(path, by=("provider",), since=None, until=None).total
        began = time.perf_counter()
        gone = forget(path, time.time() - 5 * 86_400)
        took = time.perf_counter() - began
        after = cost_report(path, by=("provider",), since=None, until=None).total
        kept = (after.calls, after.cost, after.input_tokens) == (total.calls, total.cost, total.input_tokens)
        print(f"pruned {gone.rows:,} rows of {gone.days} days in {took:.1f} s: totals {'equal' if kept else 'UNEQUAL'}")


if __name__ == "__main__":
    main()
