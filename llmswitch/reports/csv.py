"""CSV as spreadsheets read it, with nothing in it that one of them would run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from llmswitch.text import sanitize

__all__ = ["csv_text", "write_csv"]

#: a text that begins so is a formula to a spreadsheet
_FORMULA = ("=", "+", "-", "@", "\t", "＝", "＋", "－", "＠")


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A line of headings and one for each row; unknown (None) is empty, truth `true` or `false`.

    A text that a spreadsheet would take for a formula gets an apostrophe before it, which spreadsheets do not show.
    """
    out = io.StringIO()
    write_csv(out, columns, rows)
    return out.getvalue()


def write_csv(stream: TextIO, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """`csv_text`, a row at a time."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_value(value) for value in row] for row in rows)


def _value(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return value
    text = sanitize(value)
    return f"'{text}" if text.lstrip(" \n").startswith(_FORMULA) else text
