"""A suite's files as values that know where they stand, and what was found wrong with them.

A `Node` is a value with the way to it; where that is in the file is worked out only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from llmswitch.assertions.base import Place
from llmswitch.suites.model import Fault, SuiteError
from llmswitch.text import one_line

__all__ = ["Faults", "Node", "Path", "Source"]

#: keys and indices from a file's root to a value
Path = tuple[str | int, ...]

#: what anything that comes from a suite is shortened to in a message
_SHOWN = 80


class Faults:
    """What was found wrong, the first `limit` of it; `count` is how much there was."""

    def __init__(self, limit: int = 100) -> None:
        self.count = 0
        self._limit = limit
        self._kept: dict[Fault, None] = {}

    def add(self, place: Place, message: str) -> None:
        """Keep a fault; one that was said before is the same fault."""
        fault = Fault(place, one_line(message))
        if fault in self._kept:
            return
        self.count += 1
        if self.count <= self._limit:
            self._kept[fault] = None

    def check(self) -> None:
        """Raise SuiteError where anything was found, files in the order in which they were met."""
        if not self._kept:
            return
        files = {file: number for number, file in enumerate(dict.fromkeys(fault.place.file for fault in self._kept))}
        kept = sorted(self._kept, key=lambda fault: (files[fault.place.file], fault.place.line, fault.place.column))
        if self.count > len(kept):
            kept.append(Fault(kept[-1].place, f"and {self.count - len(kept)} more faults that are not shown."))
        raise SuiteError(kept)


class Source(NamedTuple):
    """A file, or one record of it, which begins in `line`. `locate` may be slow where there are many records;
    `trusted` tells whether the user trusts these very bytes."""

    file: str
    locate: Callable[[Path], tuple[int, int]]
    faults: Faults
    trusted: bool = False
    line: int | None = None


class Node(NamedTuple):
    """A value of a suite: plain dict, list, str, int, float, bool or None."""

    value: Any
    source: Source
    path: Path = ()

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.source.file, *self.source.locate(self.path))

    @property
    def roughly(self) -> Place:
        """Where it stands, or where its record begins, which takes no reading."""
        return self.place if self.source.line is None else Place(self.source.file, self.source.line, 1)

    def fault(self, message: str) -> None:
        """Say what is wrong with it."""
        self.source.faults.add(self.place, message)

    def at(self, key: str | int) -> Node:
        """The value under `key`, which must be there."""
        return Node(self.value[key], self.source, (*self.path, key))

    def find(self, key: str) -> Node | None:
        """The value under `key`; None where there is none or it is null."""
        value = self.value.get(key) if isinstance(self.value, dict) else None
        return None if value is None else Node(value, self.source, (*self.path, key))

    def items(self) -> Iterator[tuple[str, Node]]:
        """The values of a mapping by key."""
        return ((key, self.at(key)) for key in self.value)

    def each(self) -> Iterator[Node]:
        """The values of a list."""
        return (self.at(index) for index in range(len(self.value)))

    def shown(self) -> str:
        """The value as a message shows it."""
        text = repr(self.value)
        return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"

    def is_a(self, kind: type | tuple[type, ...], what: str) -> bool:
        """Whether it is of that type (true and false are no numbers); a fault says `what` it must be."""
        if isinstance(self.value, kind) and not (isinstance(self.value, bool) and kind is not bool):
            return True
        self.fault(f"must be {what}, not {self.shown()}.")
        return False

    def number(self, low: float, high: float = float("inf")) -> float | None:
        """It as a number within [low, high]; a fault and None otherwise."""
        bounds = f"a number from {low:g} to {high:g}" if high != float("inf") else f"a number of at least {low:g}"
        if not self.is_a((int, float), bounds):
            return None
        if not low <= self.value <= high:
            self.fault(f"must be {bounds}, not {self.shown()}.")
            return None
        return float(self.value)

    def text(self, what: str = "text") -> str | None:
        """It as text; a fault and None otherwise."""
        return self.value if self.is_a(str, what) else None
