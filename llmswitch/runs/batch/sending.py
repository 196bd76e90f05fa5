"""Handing a job to its vendor, once: what may have been sent already is looked for there before it is sent again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmswitch.batches import BatchJob
from llmswitch.errors import (
    BadRequestError,
    ContentFilterError,
    LLMSwitchError,
    NotFoundError,
    ProviderError,
    StorageError,
)
from llmswitch.paths import private_file
from llmswitch.providers.batching import Batcher, JobState, Piece
from llmswitch.runs.batch.desk import Desk

__all__ = ["error_text", "found_again", "send"]

#: what the vendor says of the job itself: sending it again would get the same answer
_FINAL = (BadRequestError, ContentFilterError, NotFoundError)
#: how often a vendor is asked for a job that it may be about to list, in seconds
_LOOK_AGAIN_S = 2.0


def error_text(error: LLMSwitchError) -> str:
    """An error as it is kept with a line."""
    return json.dumps(error.as_dict()["error"])


async def send(desk: Desk, job: BatchJob) -> BatchJob:
    """A job that is prepared, or whose sending was cut off, at its vendor; returns it as noted.

    Where the vendor refuses it for good, its lines have that error. Raises what may be otherwise later (a
    ProviderError, ConfigError or BudgetError), and then the job stays as it is.
    """
    desk.batcher(job)  # what is wrong with the settings is told before anything is noted
    if not desk.lines.counts(job.number).open:  # it was refused, and whoever was told so was killed
        _path(desk, job).unlink(missing_ok=True)
        return desk.put(job._replace(state="stored", outcome="refused"))
    again = job.state == "sending"
    if not again:
        job = desk.put(desk.hold(job)._replace(state="sending", sent_from=desk.services.wall()))
        desk.at("noted that it is being sent")
    refusals: list[ProviderError] = []
    with _piece(desk, job) as piece:
        desk.at("wrote what is sent")
        try:
            found = await desk.tried(
                lambda attempt: _handed_over(desk, job, piece, refusals, again=again or attempt > 1),
                f"sending {job.id}",
            )
        except ProviderError as error:
            if error not in refusals:  # the search for it failed: it may be there
                raise
            if isinstance(error, _FINAL):
                return _refused(desk, job, error)
            if error.status is not None and 400 <= error.status < 500:  # it said no: nothing of it is there
                desk.put(job._replace(state="prepared", said=error.message))
            raise
    desk.at("the vendor has it")
    return _noted(desk, job, found)


async def found_again(desk: Desk, job: BatchJob) -> BatchJob | None:
    """A job whose sending was cut off, as it is noted once it is found at its vendor; None where it is not there.

    Raises what `send` raises.
    """
    batcher = desk.batcher(job)
    with _piece(desk, job) as piece:
        found = await desk.tried(lambda attempt: _found(desk, batcher, job, piece), f"looking for {job.id}")
    return None if found is None else _noted(desk, job, found)


async def _handed_over(
    desk: Desk, job: BatchJob, piece: Piece, refusals: list[ProviderError], *, again: bool
) -> JobState:
    """The vendor's job, found there or made; its errors at being handed it, and no others, go to `refusals`, too."""
    batcher = desk.batcher(job)
    if again:
        found = await _found(desk, batcher, job, piece)
        if found is not None:
            desk.watcher.told(f"{job.id} had been sent: found it at the vendor")
            return found
    try:
        return await batcher.send(piece)
    except ProviderError as error:
        refusals.append(error)
        raise


async def _found(desk: Desk, batcher: Batcher, job: BatchJob, piece: Piece) -> JobState | None:
    """The vendor's job that an attempt before this one made; it may take a moment to be listed."""
    ends = (job.sent_from or 0.0) + desk.settling_s
    while True:
        known = desk.store.known(job.provider)
        found = [state for state in await batcher.find(piece) if state.vendor_id not in known]
        if found:
            # of several that may be it, the one that was made right after its sending began
            return found[0] if found[0].certain else min(found, key=lambda state: state.created_at or 0.0)
        left = ends - desk.services.wall()
        if left <= 0:
            return None
        await desk.sleep(min(_LOOK_AGAIN_S, left))


def _noted(desk: Desk, job: BatchJob, found: JobState) -> BatchJob:
    job = desk.put(
        job._replace(
            state="sent",
            vendor_id=found.vendor_id,
            certain=found.certain,
            sent_at=found.created_at or desk.services.wall(),
            expires_at=found.expires_at,
            outcome=None,
            said=None,
        )
    )
    desk.at("noted that it is sent")
    return job


def _refused(desk: Desk, job: BatchJob, error: ProviderError) -> BatchJob:
    desk.lines.fail_open(job.number, error_text(error))
    desk.at("stored that it was refused")
    desk.watcher.told(f"{job.id} was refused: {error.message}")
    return desk.put(job._replace(state="stored", outcome="refused", said=error.message))


def _path(desk: Desk, job: BatchJob) -> Path:
    return desk.folder / f"{job.id}.jsonl"


@contextmanager
def _piece(desk: Desk, job: BatchJob) -> Iterator[Piece]:
    """The job's open lines as a file for the vendor, for as long as it is being sent."""
    path, count = _path(desk, job), 0
    try:
        try:
            path.unlink(missing_ok=True)  # a killed sending's
            private_file(path)
            with open(path, "w", encoding="utf-8") as stream:
                for body in desk.lines.bodies(job.number):
                    stream.write(f"{body}\n")
                    count += 1
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}.") from error
        assert job.sent_from is not None  # noqa: S101  # noted before
        yield Piece(job.id, job.request_model, count, path, job.sent_from)
    finally:
        if path.exists():
            os.unlink(path)
