"""What a server says, before it is believed: counts of tokens, and text that holds half a letter."""

from __future__ import annotations

from dataclasses import replace

from llmswitch.types import Chunk

__all__ = ["Halves", "token_count", "whole"]

#: more than any call can use
_MOST_TOKENS = 10**12


def token_count(value: object) -> int | None:
    """`value` where it can be a number of tokens, else None."""
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None


def whole(text: str) -> str:
    """`text` without surrogates: a pair of them is the letter it means, a lone one is U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Halves:
    """Joins a stream's text: a server that cuts between tokens sends one letter as two surrogates in two events."""

    def __init__(self) -> None:
        self._held = ""

    def join(self, chunk: Chunk) -> Chunk:
        """`chunk` with whole letters alone; a first half at its end waits for the next one."""
        text = self._held + chunk.text
        self._held = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return replace(
            chunk,
            text=whole(text.removesuffix(self._held)),
            reasoning=whole(chunk.reasoning),
            response_model=whole(chunk.response_model) if chunk.response_model else None,
            response_id=whole(chunk.response_id) if chunk.response_id else None,
        )

    def rest(self) -> list[Chunk]:
        """What is left at the end."""
        return [Chunk(text=whole(self._held))] if self._held else []
