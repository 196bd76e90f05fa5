"""Answers on their way to a run's rows: kept where grading takes time, graded, and each on disk before it counts."""

from __future__ import annotations

from collections.abc import Callable

from llmswitch.runs.bench.folder import RunFolder
from llmswitch.runs.bench.grading import Graders
from llmswitch.runs.bench.model import Key, SampleRow
from llmswitch.runs.bench.rows import RowLog, mend, read_rows
from llmswitch.suites.model import Case

__all__ = ["Marking"]


class Marking:
    """For one sitting of a run and its event loop. `recall` comes first: `done` and `left` are of earlier sittings."""

    def __init__(self, folder: RunFolder, graders: Graders) -> None:
        self._folder, self._graders = folder, graders
        self._samples, self._pending = RowLog(folder.samples), RowLog(folder.pending)
        #: the hashes of the keys of what is on disk: of a key itself there is more to keep
        self.done: set[int] = set()
        #: answers on disk that were not graded yet
        self.left: dict[Key, SampleRow] = {}

    def recall(self, saw: Callable[[SampleRow], None]) -> None:
        """Read what is on disk, telling `saw` of each: samples that count, and answers that are still to be graded."""
        for path in (self._folder.samples, self._folder.pending):
            mend(path)
        for row in self._folder.rows():
            self.done.add(hash(row.key))
            saw(row)
        self.left = {row.key: row for row in read_rows(self._folder.pending) if hash(row.key) not in self.done}
        for row in self.left.values():
            saw(row)
        beside = {(row.case, row.repeat) for row in self.left.values()}
        for row in self._folder.rows() if beside else ():
            if (row.case, row.repeat) in beside:
                self._graders.remember(row)

    def is_done(self, case: Case, key: Key) -> bool:
        """Whether the sample is on disk since an earlier sitting."""
        if hash(key) not in self.done:
            return False
        self._graders.skipped(case, key)
        return True

    async def marked(self, case: Case, row: SampleRow, *, known: bool) -> SampleRow:
        """The row with its grade, on disk. `known` tells that its answer is there already. Raises BudgetError and
        ConfigError where a judge cannot be asked, StorageError where the disk will not have it."""
        if row.answered and not known and self._graders.takes_time(case):
            await self._pending.append(row.as_dict())
        row = await self._graders.graded(case, row)
        await self._samples.append(row.as_dict())
        return row

    async def aclose(self) -> None:
        """Let go of the files."""
        await self._samples.aclose()
        await self._pending.aclose()

    def tidy(self) -> None:
        """Of a run that is complete all is among the samples."""
        self._folder.pending.unlink(missing_ok=True)
