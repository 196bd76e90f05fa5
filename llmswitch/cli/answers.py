"""The answers of a comparison, whole: side by side or one below the other on a terminal, under headings in a pipe."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from llmswitch.cli.shell import Shell
from llmswitch.cli.writer import Writer
from llmswitch.errors import LLMSwitchError
from llmswitch.runs.compare import Comparison
from llmswitch.runs.sampling import Sample
from llmswitch.text import one_line, sanitize

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.segment import Segment

__all__ = ["GAP", "Headings", "column_width", "fits_columns", "print_answers", "said"]

#: characters; a longer answer is printed as it is, since drawing it would take longer than asking did
_LARGEST = 100_000
#: cells of a column that can still be read, and between two of them
_NARROWEST, GAP = 36, 3
_PARTIAL = "what had come, not the whole answer:"
_FINISHES = {
    "stop": None,
    "length": "cut at the token limit",
    "content_filter": "cut by the vendor's safety filter, or a refusal",
    "tool_call": "asked for a tool instead of answering",
    "error": "ended with an error: may not be whole",
}


def fits_columns(targets: int, width: int) -> bool:
    """Whether that many columns can be read side by side on `width` cells."""
    return column_width(targets, width) >= _NARROWEST


def column_width(targets: int, width: int) -> int:
    """Cells of each of that many columns side by side on `width` cells."""
    return (width - GAP * (targets - 1)) // max(1, targets)


def said(error: LLMSwitchError) -> str:
    """The error in one line, its kind first."""
    message = one_line(error.message, 2000)
    return message if message.startswith(error.kind) else f"{error.kind}: {message}"


def print_answers(shell: Shell, comparison: Comparison) -> None:
    """Print `comparison.results`, followed by an empty line each, on stdout."""
    if shell.decorated(shell.stdout):
        _draw(shell, comparison.results)
    else:
        for sample in comparison.results:
            shell.stdout.write(_plain(sample))
    shell.stdout.flush()


class Headings:
    """Prints to a pipe, as a `Progress`: each answer once it and all before it are there; asked once each."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._waiting: dict[int, Sample] = {}
        self._printed = 0

    def started(self, index: int) -> None:
        """Nothing to say yet."""

    def text(self, index: int, piece: str) -> None:
        """Nothing either: two answers at once cannot be read."""

    def restarted(self, index: int) -> None:
        """Nothing of it was printed."""

    def told(self, index: int, line: str) -> None:
        """A pipe has answers alone."""

    def ended(self, index: int, sample: Sample) -> None:
        """Print what can be. A reader that left is no reason for a call to fail: `finish` tells of it."""
        self._waiting[index] = sample
        while self._printed in self._waiting:
            self._writer.write(_plain(self._waiting[self._printed]))
            self._printed += 1

    def finish(self, comparison: Comparison) -> None:
        """Print the rest, such as calls that were ended before they began; raises the OSError of any printing."""
        for index, sample in enumerate(comparison.results):
            if index not in self._waiting:
                self.ended(index, sample)
        self._writer.wait()
        if self._writer.failed is not None:
            raise self._writer.failed


def _facts(sample: Sample) -> str:
    """The model, and what is to be known of this answer."""
    response = sample.response
    if response is None:
        kind = sample.error.kind if sample.error else "no answer"
        return f"{one_line(sample.request_model, 200)}, {kind}"
    facts = [
        one_line(response.response_model or response.request_model, 200),
        "cached" if response.cached else None,
        _FINISHES[response.finish_reason],
        None if response.text.strip() else "(empty answer)",
    ]
    return ", ".join(fact for fact in facts if fact)


def _text(sample: Sample) -> str:
    if sample.response is not None:
        return sanitize(sample.response.text).strip("\n")
    return sanitize(sample.error.partial_text).strip("\n") if sample.error else ""


def _plain(sample: Sample) -> str:
    parts = [f"== {one_line(sample.target, 500)} ({_facts(sample)}) =="]
    text = _text(sample)
    if sample.error is not None:
        parts.append(said(sample.error))
        if text:
            parts.append(_PARTIAL)
    if text:
        parts.append(text)
    return "\n".join(parts) + "\n\n"


def _draw(shell: Shell, samples: Sequence[Sample]) -> None:
    from rich.console import Console

    width = shutil.get_terminal_size().columns
    console = Console(file=shell.stdout, width=width)
    texts = [_text(sample) for sample in samples]
    parts = [[*_head(sample, text), *_body(text)] for sample, text in zip(samples, texts, strict=True)]
    longest = max(map(len, texts), default=0)
    if len(samples) > 1 and fits_columns(len(samples), width) and longest <= _LARGEST:
        _draw_columns(console, parts)
        return
    for text, each in zip(texts, parts, strict=True):
        for part in each:
            console.print(part)
        if len(text) > _LARGEST:
            console.file.write(f"{text}\n")
        console.print()


def _head(sample: Sample, text: str) -> list[RenderableType]:
    from rich.rule import Rule
    from rich.text import Text

    parts: list[RenderableType] = [
        Text(one_line(sample.target, 500), style="bold", overflow="fold"),
        Text(_facts(sample), style="dim", overflow="fold"),
        Rule(style="dim"),
    ]
    if sample.error is not None:
        parts.append(Text(said(sample.error), style="red", overflow="fold"))
        if text:
            parts.append(Text(f"\n{_PARTIAL}\n", style="dim"))
    return parts


def _body(text: str) -> list[RenderableType]:
    """The answer as Markdown; nothing where that is too long to draw."""
    if not text or len(text) > _LARGEST:
        return []
    from llmswitch.cli.markdown import markdown

    return [markdown(text)]


def _draw_columns(console: Console, columns: Sequence[Sequence[RenderableType]]) -> None:
    from rich.console import Group
    from rich.segment import Segment, Segments

    each = column_width(len(columns), console.width)
    options = console.options.update(width=each, height=None)
    drawn = [console.render_lines(Group(*parts), options, pad=False) for parts in columns]
    empty: list[Segment] = []
    for row in zip_longest(*drawn, fillvalue=empty):
        console.print(Segments([*_joined(row, each), Segment("\n")]), end="", crop=False, soft_wrap=True)
    console.print()


def _joined(row: Sequence[Sequence[Segment]], each: int) -> list[Segment]:
    """The parts of a row, each at its own place. One that a terminal may draw wider pushes the rest to the right."""
    from rich.cells import cell_len
    from rich.control import Control
    from rich.segment import Segment
    from rich.style import Style

    from llmswitch.cli.cells import barrier, cells

    texts = ["".join(segment.text for segment in part) for part in row]
    mark = barrier(texts)
    joined = list(row[0])
    for number, (before, part) in enumerate(zip(texts, row[1:], strict=False), 1):
        joined.append(Segment(" " * (each - cell_len(before))))
        if cells(before) <= each:
            joined.append(Control.move_to_column(number * (each + GAP) - GAP).segment)
        joined += [Segment(mark), Segment(" │ ", Style(dim=True)), Segment(mark), *part]
    return joined
