"""Tests from JSONL and CSV, one record at a time: nothing of a file stays in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath

from llmswitch.assertions.base import Place
from llmswitch.suites.cells import is_expected, test_of_row
from llmswitch.suites.files import Files
from llmswitch.suites.json_text import JsonError, json_place, offset_place, parse_json
from llmswitch.suites.nodes import Node, Path, Source

__all__ = ["csv_rows", "csv_tests", "json_lines"]

_LARGEST_RECORD = 16_000_000
_CELL = re.compile(r'"([^"]*(?:""[^"]*)*)"|([^",][^,]*|)')


def json_lines(files: Files, path: FilePath, asked: Node) -> Iterator[Node]:
    """Each non-empty line of `path` as a value; a line that is no JSON is a fault and left out."""
    name = files.name(path)
    for number, raw in enumerate(files.lines(path, asked), start=1):
        if not raw.strip():
            continue
        if len(raw) > _LARGEST_RECORD:
            files.faults.add(Place(name, number, 1), "this line is over 16 MB.")
            return
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            yield Node(parse_json(line), Source(name, _LinePlace(line, number), files.faults, line=number))
        except UnicodeDecodeError:
            files.faults.add(Place(name, number, 1), "this is not UTF-8 text.")
        except JsonError as error:
            files.faults.add(Place(name, *offset_place(line, error.offset, first_line=number)), error.message)


class _LinePlace:
    """Where a path of one line of JSON stands."""

    __slots__ = ("_line", "_number")

    def __init__(self, line: str, number: int) -> None:
        self._line, self._number = line, number

    def __call__(self, path: Path) -> tuple[int, int]:
        return json_place(self._line, path, first_line=self._number)


def csv_tests(files: Files, path: FilePath, asked: Node) -> Iterator[Node]:
    """Each row of `path` as a test in the form that YAML gives one."""
    for number, (row, source) in enumerate(csv_rows(files, path, asked), start=1):
        yield Node(test_of_row(row, number, source), source)


def csv_rows(files: Files, path: FilePath, asked: Node) -> Iterator[tuple[Mapping[str, str], Source]]:
    """Each row of `path` by the names in its first one; a row of another length is a fault and left out."""
    name = files.name(path)
    header: list[str] | None = None
    for line, text in _records(files, path, asked):
        cells = _cells(text)
        if cells is None:
            files.faults.add(Place(name, line, 1), "a quote in this row has no end, or text behind it.")
        elif header is None:
            header = [cell.strip() for _, cell in cells]
            if len(set(header)) < len(header):
                files.faults.add(Place(name, line, 1), "two columns have the same name.")
        elif len(cells) == len(header):
            row = dict(zip(header, (cell for _, cell in cells), strict=True))
            yield row, Source(name, _CellPlace(text, line, header, cells), files.faults, line=line)
        elif text.strip():
            files.faults.add(Place(name, line, 1), f"this row has {len(cells)} cells, and the header {len(header)}.")


class _CellPlace:
    """Where a column's cell stands: `path` ends in the column's name, or leads to what was made of one."""

    __slots__ = ("_cells", "_header", "_line", "_text")

    def __init__(self, text: str, line: int, header: list[str], cells: list[tuple[int, str]]) -> None:
        self._text, self._line, self._header, self._cells = text, line, header, cells

    def __call__(self, path: Path) -> tuple[int, int]:
        return offset_place(self._text, self._offset(path), first_line=self._line)

    def _offset(self, path: Path) -> int:
        if path[:1] == ("assert",) and len(path) > 1:
            expected = [
                cell for name, cell in zip(self._header, self._cells, strict=True) if is_expected(name, cell[1])
            ]
            return expected[int(path[1])][0] if int(path[1]) < len(expected) else 0
        columns = (name for part in reversed(path) for name in (str(part), f"__{part}") if name in self._header)
        column = next(columns, None)
        return 0 if column is None else self._cells[self._header.index(column)][0]


def _records(files: Files, path: FilePath, asked: Node) -> Iterator[tuple[int, str]]:
    """Each record with the number of its first line; one whose quotes are open goes on in the next line."""
    name, started, held, size = files.name(path), 0, list[str](), 0
    for number, raw in enumerate(files.lines(path, asked), start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            files.faults.add(Place(name, number, 1), "this is not UTF-8 text.")
            return
        started, size = started or number, size + len(line)
        held.append(line)
        if size > _LARGEST_RECORD:
            files.faults.add(Place(name, started, 1), "this row is over 16 MB: a quote in it may have no end.")
            return
        # a line with an even number of quotes leaves an open one open, and a closed one closed
        odd = line.count('"') % 2 == 1
        if odd == (len(held) > 1) or (len(held) == 1 and _cells(line.rstrip("\r\n")) is not None):
            text = "".join(held)
            yield started, text.rstrip("\r\n")
            started, held, size = 0, [], 0
    if held:
        yield started, "".join(held).rstrip("\r\n")


def _cells(text: str) -> list[tuple[int, str]] | None:
    """The cells of a record, each with where it begins; None where its quotes cannot be read."""
    cells: list[tuple[int, str]] = []
    offset = 0
    while True:
        match = _CELL.match(text, offset)
        if match is None:
            return None
        quoted = match[1]
        cells.append((offset, match[2] if quoted is None else quoted.replace('""', '"')))
        offset = match.end()
        if offset == len(text):
            return cells
        if text[offset] != ",":
            return None
        offset += 1
