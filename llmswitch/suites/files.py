"""Which files a suite may read, and reading them: below its own folder, of bounded size, and no pipes or devices."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path as FilePath
from typing import IO, Any

from llmswitch.assertions.base import Place
from llmswitch.errors import ConfigError
from llmswitch.paths import read_regular
from llmswitch.suites.json_text import JsonError, json_place, offset_place, parse_json
from llmswitch.suites.nodes import Faults, Node, Path, Source
from llmswitch.suites.yaml12 import YamlError, parse_yaml
from llmswitch.text import one_line

__all__ = ["SCRIPTS", "Files", "is_pattern"]

#: what would have to be run
SCRIPTS = frozenset(
    (".js", ".cjs", ".mjs", ".ts", ".cts", ".mts", ".py", ".rb", ".go", ".sh", ".bash", ".exe", ".bat", ".cmd", ".ps1")
)
#: what takes half a minute to read; thousands of tests belong into CSV or JSONL, which are read row by row
_LARGEST_YAML = 2_000_000
_LARGEST_FILE = 50_000_000
_MOST_FILES = 10_000
#: how many small files are kept in memory as text
_KEPT = 256


def is_pattern(name: str) -> bool:
    """Whether `name` may stand for several files."""
    return any(mark in name for mark in "*?[")


@dataclass
class Files:
    """The files of one suite. `folder` is the suite's own, `shown` what stands before a file's name in messages."""

    folder: FilePath
    shown: str
    faults: Faults
    allow_all: bool
    trusted: Callable[[FilePath, bytes], bool]
    _texts: dict[FilePath, str] = field(default_factory=dict)

    def name(self, path: FilePath) -> str:
        """`path` as messages show it."""
        try:
            return one_line(os.path.join(self.shown, path.relative_to(self.folder).as_posix()))
        except ValueError:
            return one_line(str(path))

    def find(self, name: str, asked: Node) -> list[FilePath]:
        """The files that `name` (`file://` or not) stands for, sorted; a fault where there is none."""
        name = name.removeprefix("file://")
        if "\0" in name or not name:
            asked.fault("names no file.")
            return []
        path = FilePath(os.path.abspath(self.folder / name))
        if not is_pattern(name) or path.is_file():
            found = [path]
        else:
            try:
                pattern = os.path.relpath(path, self.folder)
                up = pattern.startswith("..")
                matching = path.parent.glob(path.name) if up else self.folder.glob(pattern)
                found = sorted(islice(matching, _MOST_FILES + 1))
            except (ValueError, OSError, NotImplementedError, IndexError) as error:
                asked.fault(f"the pattern {name!r} cannot be read: {error}.")
                return []
            if len(found) > _MOST_FILES:
                asked.fault(
                    f"the pattern {name!r} stands for over {_MOST_FILES:,} files: write many tests as CSV or JSONL."
                )
                return []
            found = [one for one in found if one.is_file()]
        if not found:
            asked.fault(f"there is no file {name!r}, as seen from {self.shown or 'the folder of the suite'}.")
        return [one for one in found if self._allowed(one, asked)]

    def one(self, name: str, asked: Node) -> FilePath | None:
        """The single file that `name` stands for; None and a fault where that is not one."""
        found = self.find(name, asked)
        if len(found) > 1:
            asked.fault(f"{name!r} stands for {len(found)} files, and one is needed here.")
        return found[0] if len(found) == 1 else None

    def _allowed(self, path: FilePath, asked: Node) -> bool:
        try:
            real, root = path.resolve(), self.folder.resolve()
        except (OSError, RuntimeError) as error:
            asked.fault(f"cannot read {self.name(path)}: {error}.")
            return False
        if self.allow_all or root in real.parents:
            return True
        asked.fault(
            f"{self.name(path)} lies outside the suite's folder {self.shown or '.'}: a suite reads only what is below "
            "its own. Give --allow-files to allow all files for one call."
        )
        return False

    def content(self, path: FilePath, asked: Node, limit: int = _LARGEST_FILE) -> bytes | None:
        """The content of `path`; None and a fault where it cannot be read."""
        reason = None
        try:
            found = read_regular(path, limit + 1)
            if found is None:
                reason = "it is no regular file"
            elif len(found[0]) > limit:
                reason = f"it is over {limit // 1_000_000} MB; write many tests as CSV or JSONL"
            else:
                return found[0]
        except OSError as error:
            reason = error.strerror or str(error)
        asked.fault(f"cannot read {self.name(path)}: {reason}.")
        return None

    def text(self, path: FilePath, asked: Node) -> str | None:
        """The content of `path` as UTF-8 text without a BOM; None and a fault where it is none. Small ones are kept."""
        if path in self._texts:
            return self._texts[path]
        content = self.content(path, asked)
        if content is None:
            return None
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            asked.fault(f"cannot read {self.name(path)}: it is not UTF-8 text (byte {error.start + 1}).")
            return None
        if len(text) < 100_000:
            if len(self._texts) >= _KEPT:
                self._texts.clear()
            self._texts[path] = text
        return text

    def lines(self, path: FilePath, asked: Node) -> Iterator[bytes]:
        """The lines of `path` one by one, each cut at the size that no record has; a fault where it cannot be read."""
        try:
            with _opened(path) as stream:
                while line := stream.readline(_LARGEST_FILE):
                    yield line
        except OSError as error:
            asked.fault(f"cannot read {self.name(path)}: {error.strerror or error}.")

    def document(self, path: FilePath, asked: Node) -> Node | None:
        """A YAML or JSON file as a value that knows its places; None and a fault where it is neither."""
        content = self.content(path, asked, _LARGEST_FILE if path.suffix.lower() == ".json" else _LARGEST_YAML)
        if content is None:
            return None
        name = self.name(path)
        trusted = self.trusted(path, content)
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = content[: error.start].decode("utf-8-sig", "replace")
            place = Place(name, *offset_place(before, len(before)))
            self.faults.add(place, "this is not UTF-8 text.")
            return None
        return self.parsed(text, name, json=path.suffix.lower() == ".json", trusted=trusted)

    def parsed(self, text: str, name: str, *, json: bool, trusted: bool) -> Node | None:
        """`text` as a document; None and a fault where it is none."""
        try:
            if json:
                return Node(parse_json(text), Source(name, _Json(text), self.faults, trusted))
            value, locate = parse_yaml(text)
            return Node(value, Source(name, locate, self.faults, trusted))
        except JsonError as error:
            self.faults.add(Place(name, *offset_place(text, error.offset)), error.message)
        except YamlError as error:
            self.faults.add(Place(name, error.line, error.column), error.message)
        except ImportError as error:
            raise ConfigError("a suite in YAML needs the extra: type pip install 'llmswitch[bench]'.") from error
        return None


class _Json:
    """Where a path of a JSON text stands."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self, path: Path) -> tuple[int, int]:
        return json_place(self._text, path)


def _opened(path: FilePath) -> IO[Any]:
    """`path` for reading, if it is a regular file. Raises OSError."""
    if read_regular(path, 0) is None:
        raise OSError(0, "it is no regular file")
    return open(path, "rb")
