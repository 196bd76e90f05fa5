"""Ending a process that this one has started, or that has lost it."""

from __future__ import annotations

import os
import signal
from asyncio.subprocess import Process
from contextlib import suppress

__all__ = ["end", "own_limit"]


def own_limit(limit_s: float) -> float:
    """The seconds after which a process ends itself that is ended after `limit_s` as long as somebody is there."""
    return 2 * limit_s + 1


async def end(process: Process) -> None:
    """Kill it and what it started: it leads a session of its own. Returns when it is gone.

    Not by `Process.kill`, which takes away from asyncio's watcher how a process ended that is no more.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()
    await process.wait()
    # what it had still written: a pipe that is not read to its end stays open
    if process.stdout is not None:
        with suppress(OSError, ValueError):
            await process.stdout.read()
