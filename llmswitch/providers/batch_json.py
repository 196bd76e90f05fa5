"""One JSON document of any length, read as it comes: the elements of its long lists one by one, then all the rest."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from llmswitch.providers.failures import UndecodableError

__all__ = ["skim"]

#: characters of one element, and of all that is no element
_MOST = 16 * 2**20
#: how much of the text is kept back, since the beginning of a list may be cut in two
_TAIL = 4096
#: what stands without quotation marks, and may be cut in two
_WORDS = ("true", "false", "null")
_BETWEEN = re.compile(r"[\s,]*")


async def skim(parts: AsyncIterator[bytes], names: Sequence[str]) -> AsyncGenerator[tuple[str | None, Any]]:
    """(name, element) of the lists called one of `names`, then (None, the document with those lists empty).

    Where a list of one name comes twice, as a job's answers do, the later ones are passed over. The beginning of a
    list cannot stand within a text: a quotation mark has a backslash before it there. Raises EOFError where the
    document breaks off, UndecodableError and other ValueErrors where it is no JSON; what `parts` raises comes after the
    elements that were whole by then.
    """
    reader = _Reader(names)
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        async for part in parts:
            for found in reader.feed(decoder.decode(part)):
                yield found
    except Exception:
        for found in reader.flush():
            yield found
        raise
    for found in reader.flush():
        yield found
    yield None, reader.end()


class _Reader:
    def __init__(self, names: Sequence[str]) -> None:
        self._begin = re.compile(r'"({})"\s*:\s*\['.format("|".join(names)))
        self._read = json.JSONDecoder().raw_decode
        self._text = ""
        self._rest: list[str] = []
        self._rest_size = 0
        #: the list that is being read, and those that have been
        self._name: str | None = None
        self._full: set[str] = set()
        self._new = False
        #: no use in trying to read an element before there is so much text
        self._worth = 0

    def feed(self, text: str) -> list[tuple[str, Any]]:
        self._text += text
        found: list[tuple[str, Any]] = []
        while self._inside(found) if self._name is not None else self._outside():
            pass
        return found

    def flush(self) -> list[tuple[str, Any]]:
        """What is whole, though it was not worth trying yet."""
        self._worth = 0
        return self.feed("")

    def end(self) -> dict[str, Any]:
        """The rest, after the last of it was fed and flushed."""
        if self._name is not None:
            raise EOFError("the document breaks off within a list")
        document = "".join(self._rest) + self._text
        try:
            read = json.loads(document)
        except json.JSONDecodeError as error:
            cut = any(word.startswith(document[error.pos :]) for word in _WORDS)
            if document and (cut or error.msg.startswith("Unterminated")):
                raise EOFError("the document breaks off") from error
            raise
        if not isinstance(read, dict):
            raise UndecodableError(f"it is {type(read).__name__}, not an object")
        return read

    def _outside(self) -> bool:
        """Up to the next list, if it is there; whether it is."""
        begin = self._begin.search(self._text)
        end = begin.end() if begin else max(0, len(self._text) - _TAIL)
        self._rest.append(self._text[:end])
        self._rest_size += end
        if self._rest_size > _MOST:
            raise UndecodableError("it is too large to be one")
        self._text = self._text[end:]
        if begin is not None:
            self._name, self._new, self._worth = begin[1], begin[1] not in self._full, 0
        return begin is not None

    def _inside(self, found: list[tuple[str, Any]]) -> bool:
        """Every whole element; whether the list's end is there."""
        assert self._name is not None  # noqa: S101  # `feed` has looked
        if len(self._text) < self._worth:
            return False
        place = 0
        try:
            while True:
                between = _BETWEEN.match(self._text, place)
                place = between.end() if between else place
                if self._text.startswith("]", place):
                    self._name = None
                    return True
                if not self._text.startswith("{", place):
                    self._need(place)
                    return False
                element, place = self._read(self._text, place)
                if self._new:
                    self._full.add(self._name)
                    found.append((self._name, element))
        except json.JSONDecodeError:
            self._need(place)
            return False
        finally:
            self._text = self._text[place:]

    def _need(self, place: int) -> None:
        """The element at `place` is not whole yet: it is tried again when twice as much of it is there."""
        size = len(self._text) - place
        if size > _MOST or (size and self._text[place] != "{"):
            raise UndecodableError("an element of its lists is no object, or does not end")
        self._worth = 2 * size
