"""Questions from a file, one after another: JSONL, CSV, or text with one a line. Nothing of it stays in memory."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from llmswitch.errors import ConfigError
from llmswitch.targets import parse_parameter
from llmswitch.text import encodable, one_line
from llmswitch.types import PARAMETERS, Message, Parameters

__all__ = ["FORMATS", "LARGEST_LINE", "Bad", "Row", "read_rows", "which_format"]

FORMATS = ("jsonl", "csv", "text")
_SUITES = (".yaml", ".yml")
_ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".txt": "text"}
#: bytes of one line: a vendor's own bound on a request is 32 MB and less, and a model's window is far below
LARGEST_LINE = 16_000_000

_NONE = Parameters()


class Row(NamedTuple):
    """One question as it was given. `line` is its number in the file, from 1; the rest is the row's own, None where it
    says nothing. `ignored` are the names of what it holds beside. `messages` are a whole conversation, in the place of
    the prompt."""

    line: int
    prompt: str
    system: str | None = None
    id: str | None = None
    target: str | None = None
    parameters: Parameters = _NONE
    ignored: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()

    @property
    def asked(self) -> tuple[Message, ...]:
        """What is sent of it."""
        return self.messages or (Message("user", self.prompt),)


class Bad(NamedTuple):
    """A line that is no question, and why."""

    line: int
    why: str


def which_format(name: str, start: bytes) -> str:
    """The format of a file by its name's ending, or else by what it starts with. ConfigError for a suite."""
    ending = Path(name).suffix.lower()
    if ending in _SUITES:
        raise ConfigError(f"{name} is a suite, not a file of prompts: 'llmswitch bench {name} --batch' asks it.")
    start = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if ending == ".json" and start.startswith(b"["):  # its brackets would be asked, and paid
        raise ConfigError(
            f"{name} is one JSON array, not an object a line: 'jq -c .[] {name} > prompts.jsonl' makes it so."
        )
    return _ENDINGS.get(ending) or ("jsonl" if start.startswith(b"{") else "text")


def read_rows(stream: BinaryIO, format_: str) -> Iterator[Row | Bad]:
    """Every question of `stream` in its order; blank lines are none. Raises ConfigError where the whole is no such
    file, and OSError."""
    return _READERS[format_](stream)


def _lines(stream: BinaryIO) -> Iterator[tuple[int, str | Bad]]:
    """Each line that is not blank, by its number; one that is too long, or no text, as bad."""
    number = 0
    while raw := stream.readline(LARGEST_LINE + 1):
        number += 1
        if number == 1:
            raw = raw.removeprefix(codecs.BOM_UTF8)
        if len(raw) > LARGEST_LINE:
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(LARGEST_LINE)
            yield number, Bad(number, f"it is over {LARGEST_LINE // 10**6} MB, which no model takes")
            continue
        try:
            text = raw.decode().strip("\r\n")
        except UnicodeDecodeError:
            yield number, Bad(number, "it is not UTF-8 text")
            continue
        if text.strip():
            yield number, text


def _text(stream: BinaryIO) -> Iterator[Row | Bad]:
    for number, text in _lines(stream):
        yield text if isinstance(text, Bad) else Row(number, text)


def _jsonl(stream: BinaryIO) -> Iterator[Row | Bad]:
    for number, text in _lines(stream):
        if isinstance(text, Bad):
            yield text
            continue
        try:
            value = json.loads(text)
        except RecursionError:
            yield Bad(number, "it is nested too deep")
        except ValueError as error:
            yield Bad(number, f"it is not JSON: {one_line(str(error), 80)}")
        else:
            yield _row(number, {"prompt": value} if isinstance(value, str) else value)


def _csv(stream: BinaryIO) -> Iterator[Row | Bad]:
    """Rows by the names in the first one. A row's number counts rows, the first being 1."""
    before = csv.field_size_limit(LARGEST_LINE)
    try:
        # a byte that is no UTF-8 comes through as half a character, which nobody can send: the row is refused for it
        texts = (raw.decode("utf-8-sig" if n == 0 else "utf-8", "surrogateescape") for n, raw in enumerate(stream))
        rows = csv.reader(_without_nul(texts), strict=True)
        header = [name.strip().lower() for name in next(rows, [])]
        if "prompt" not in header:
            raise ConfigError("the first row names no column 'prompt'.")
        twice = next((name for name in header if name in _KNOWN and header.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"the first row names the column {twice!r} twice: leave one out.")
        yield from _records(_read(rows), header)
    except csv.Error as error:
        raise ConfigError(f"row {rows.line_num} is not CSV: {error}.") from error
    finally:
        csv.field_size_limit(before)


def _without_nul(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield text.replace("\0", "\ufffd")


def _read(rows: Any) -> Iterator[list[str] | csv.Error]:
    """Every row of a `csv.reader`, or what is wrong with it. Raises csv.Error where that is one of several lines: where
    the next row begins is a guess then, and how many were swallowed nobody knows."""
    while True:
        before = rows.line_num
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if rows.line_num - before > 1 or "end of data" in str(error):
                raise
            yield error


def _records(rows: Iterable[list[str] | csv.Error], header: list[str]) -> Iterator[Row | Bad]:
    for number, cells in enumerate(rows, start=2):
        if isinstance(cells, csv.Error):
            yield Bad(number, f"it is not CSV: {cells}")
            continue
        if not any(cells):
            continue
        if len(cells) != len(header):
            yield Bad(number, f"it has {len(cells)} cells, and the first row {len(header)}")
            continue
        # a spreadsheet has no other way to say nothing
        yield _row(number, {name: cell for name, cell in zip(header, cells, strict=True) if cell or name == "prompt"})


def _row(number: int, value: Any) -> Row | Bad:
    if not isinstance(value, dict):
        return Bad(number, f"it is {type(value).__name__}, not an object with a 'prompt'")
    prompt = value.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        return Bad(number, "it has no 'prompt'" if prompt is None or prompt == "" else "its 'prompt' is no text")
    try:
        system, target = (_text_of(value, name) for name in ("system", "target"))
        return Row(
            line=number,
            prompt=prompt,
            system=system,
            id=_id(value.get("id")),
            target=target,
            parameters=_parameters(value),
            ignored=tuple(str(name) for name in value if name not in _KNOWN),
        )
    except ConfigError as error:
        return Bad(number, error.message.rstrip("."))


def _text_of(value: Mapping[str, Any], name: str) -> str | None:
    found = value.get(name)
    if found is not None and not isinstance(found, str):
        raise ConfigError(f"its '{name}' is no text")
    return found or None


def _id(value: Any) -> str | None:
    """An id is a text or a whole number; its row in the output has it as text."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ConfigError("its 'id' is neither a text nor a whole number")
    if encodable(str(value)) != str(value):
        raise ConfigError("its 'id' holds bytes that are not UTF-8 text")
    return str(value)


def _parameters(value: Mapping[str, Any]) -> Parameters:
    found: dict[str, Any] = {}
    for name in PARAMETERS:
        given = value.get(name)
        if given is None:
            continue
        if name == "stop":
            texts = given if isinstance(given, list) else [given]
            if not all(isinstance(text, str) for text in texts):
                raise ConfigError("its 'stop' is neither a text nor a list of them")
            found[name] = tuple(texts)
        elif isinstance(given, bool) or not isinstance(given, str | int | float):
            raise ConfigError(f"its '{name}' is {type(given).__name__}")
        else:
            found[name] = parse_parameter(name, str(given), f"its '{name}'")
    return Parameters(**found) if found else _NONE


_KNOWN = frozenset({"prompt", "system", "id", "target", *PARAMETERS})
_READERS: Mapping[str, Callable[[BinaryIO], Iterator[Row | Bad]]] = {"jsonl": _jsonl, "csv": _csv, "text": _text}
