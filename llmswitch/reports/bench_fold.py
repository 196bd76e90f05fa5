"""A run's rows folded in one pass, for a page: every target's times, and how each case ended with it."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from llmswitch.reports.bench_figures import counts_from_due
from llmswitch.reports.bench_samples import ending
from llmswitch.runs.bench.document import RunDocument
from llmswitch.runs.bench.model import Rows, SampleRow

__all__ = ["Fold", "Tally"]

_KINDS = ("pass", "fail", "error")


class Tally(NamedTuple):
    """How the askings of a case ended with a target."""

    passed: int
    failed: int
    errors: int

    @property
    def asked(self) -> int:
        """How often it was asked."""
        return self.passed + self.failed + self.errors


class Fold:
    """What is kept of all rows: of a sample two times, of a case its name and three numbers a target."""

    def __init__(self, targets: Sequence[str]) -> None:
        self.targets = tuple(targets)
        self.places = {target: place for place, target in enumerate(targets)}
        #: sorted, in seconds, by target; those not known are left out
        self.durations = [array("d") for _ in targets]
        self.first_tokens = [array("d") for _ in targets]
        self._cases: dict[str, int] = {}
        self._counts = array("L")

    @classmethod
    def of(cls, document: RunDocument, rows: Rows) -> Fold:
        """Rows of targets that the document does not have are passed over."""
        found, from_due = cls([target["target"] for target in document["targets"]]), counts_from_due(document)
        for row in rows():
            if row.target in found.places:
                found._add(row, row.scheduled_latency_s if from_due else row.duration_s)
        for times in (found.durations, found.first_tokens):
            times[:] = [array("d", sorted(values)) for values in times]
        return found

    def _add(self, row: SampleRow, duration_s: float | None) -> None:
        place = self.places[row.target]
        at = self._cases.get(row.case)
        if at is None:
            at = self._cases[row.case] = len(self._cases)
            self._counts.extend([0] * len(self.targets) * len(_KINDS))
        self._counts[self._at(at, place) + _KINDS.index(ending(row).kind)] += 1
        if row.error is None and duration_s is not None:
            self.durations[place].append(duration_s)
        if row.error is None and row.time_to_first_token_s is not None:
            self.first_tokens[place].append(row.time_to_first_token_s)

    def _at(self, case: int, place: int) -> int:
        return (case * len(self.targets) + place) * len(_KINDS)

    def __len__(self) -> int:
        """How many cases there are."""
        return len(self._cases)

    def tally(self, case: str, place: int) -> Tally:
        """Of the target in that place. Raises KeyError for a case that no row has."""
        at = self._at(self._cases[case], place)
        return Tally(*self._counts[at : at + len(_KINDS)])

    def tallies(self, case: str) -> list[Tally]:
        """Of all targets, in their order."""
        return [self.tally(case, place) for place in range(len(self.targets))]

    def all_passed(self, case: str) -> bool:
        """Whether every asking of it did."""
        return all(tally.passed == tally.asked for tally in self.tallies(case))

    def first(self, most: int) -> list[str]:
        """Cases, those that not all passed first and each in the suite's order; `most` of them."""
        return heapq.nsmallest(most, self._cases, key=lambda case: (self.all_passed(case), *_in_order(case)))

    def not_passed(self) -> int:
        """How many cases not all passed."""
        return sum(not self.all_passed(case) for case in self._cases)

    def samples(self, place: int) -> int:
        """How many there are of the target in that place."""
        return sum(self.tally(case, place).asked for case in self._cases)


def _in_order(case: str) -> tuple[tuple[int, str], ...]:
    """1.2 before 1.10."""
    return tuple(_part(part) for part in case.split("."))


def _part(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isascii() and part.isdigit() and len(part) < 19 else (0, part)
