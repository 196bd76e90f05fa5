"""A file of rows that is whole or is not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from llmswitch.errors import StorageError

__all__ = ["written"]


@contextmanager
def written(path: Path, at: Callable[[str], None] = lambda step: None) -> Iterator[TextIO]:
    """What is written gets the name `path`, in one step, when it is whole; StorageError where it cannot be made.

    `at` is told the steps (desk.py).
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        path = path.resolve()  # what a link points to is written, and the link stays
        if path.exists() and not path.is_file():  # a device or a pipe stays what it is
            with open(path, "w", encoding="utf-8") as stream:
                yield stream
            return
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}.") from error
    try:
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            at("wrote the rows")
            os.replace(temporary, path)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}.") from error
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    at("gave the rows their name")
