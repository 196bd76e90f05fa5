"""The formats of a run: a row each, with the file that it has in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TextIO

from llmswitch.runs.bench.document import RunDocument
from llmswitch.runs.bench.model import Rows

__all__ = ["FORMATS", "Format", "Write"]

#: run, its rows, earlier runs of the same suite, and where to
Write = Callable[[RunDocument, Rows, Sequence[RunDocument], TextIO], None]


class Format(NamedTuple):
    """`write` streams it. `derived` tells that it is made from the run's document and rows, and is not one of them."""

    file: str
    write: Write
    derived: bool = True


def _csv(document: RunDocument, rows: Rows, _history: Sequence[RunDocument], stream: TextIO) -> None:
    from llmswitch.reports.bench_csv import write_samples

    write_samples(document, rows, stream)


def _junit(document: RunDocument, rows: Rows, _history: Sequence[RunDocument], stream: TextIO) -> None:
    from llmswitch.reports.bench_junit import write_junit

    write_junit(document, rows, stream)


def _markdown(document: RunDocument, rows: Rows, _history: Sequence[RunDocument], stream: TextIO) -> None:
    from llmswitch.reports.bench_markdown import write_summary

    write_summary(document, rows, stream)


def _html(document: RunDocument, rows: Rows, history: Sequence[RunDocument], stream: TextIO) -> None:
    from llmswitch.reports.bench_page import bench_page

    stream.write(bench_page(document, rows, history))


def _json(document: RunDocument, _rows: Rows, _history: Sequence[RunDocument], stream: TextIO) -> None:
    json.dump(document, stream, ensure_ascii=True, indent=2)
    stream.write("\n")


def _jsonl(_document: RunDocument, rows: Rows, _history: Sequence[RunDocument], stream: TextIO) -> None:
    stream.writelines(f"{json.dumps(row.as_dict())}\n" for row in rows())


FORMATS: Mapping[str, Format] = {
    "csv": Format("samples.csv", _csv),
    "junit": Format("junit.xml", _junit),
    "markdown": Format("report.md", _markdown),
    "html": Format("report.html", _html),
    "json": Format("run.json", _json, derived=False),
    "jsonl": Format("samples.jsonl", _jsonl, derived=False),
}
