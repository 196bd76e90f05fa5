"""Making text that a model or a vendor wrote safe to print.

Model output is hostile: an escape sequence can retitle a terminal, move its cursor over what was printed before,
or write to its clipboard. Nothing below U+0020 but newline and tab, no DEL, no C1 control and no lone surrogate
gets through, nor what embeds or overrides the direction of text, which can show a command in another order than it
runs; whole escape sequences go with their introducer, so that no '[31m' is left behind.
"""

from __future__ import annotations

import re

__all__ = ["Sanitizer", "encodable", "estimate_tokens", "one_line", "sanitize"]

# The body of an OSC or its like ends at the next introducer: text that is nothing but introducers takes linear time.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, erase
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]{0,4096}(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, …
    r"|\x1b[ -/]+[0-~]|\x1b[0-OQ-WYZ\\`-~]"  # other escapes
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
#: an escape sequence that the next piece may complete
_UNFINISHED = re.compile(
    r"(?:\x1b|(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]{0,512}\x1b?)\Z"
)


def sanitize(text: str) -> str:
    """`text` without escape sequences, controls and directional overrides; newlines are '\\n', tabs stay."""
    # every sequence begins with a control
    if (text.isascii() and text.isprintable()) or _CONTROL.search(text) is None:
        return text
    return _CONTROL.sub("", _SEQUENCE.sub("", text.replace("\r\n", "\n")))


def encodable(text: str) -> str:
    """`text` with U+FFFD for each lone surrogate: what UTF-8, and so SQLite, can hold."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def one_line(text: str, limit: int = 500) -> str:
    """`text` sanitized, on one line, cut at `limit` characters."""
    flat = " ".join(sanitize(text).split())
    return flat if len(flat) <= limit else f"{flat[: limit - 1]}…"


class Sanitizer:
    """`sanitize` over a stream: a sequence cut by a chunk's end is held back until it is whole or is none."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """What can be printed now."""
        text = self._held + text
        unfinished = _UNFINISHED.search(text)
        cut = unfinished.start() if unfinished else len(text)
        if text[:cut].endswith("\r"):
            cut -= 1
        self._held = text[cut:]
        return sanitize(text[:cut])

    def close(self) -> str:
        """What is left at the end."""
        rest, self._held = self._held, ""
        return sanitize(rest)


def estimate_tokens(text: str) -> int:
    """A stated approximation where no vendor counted: one token for four UTF-8 bytes, rounded up."""
    return -(-len(text.encode("utf-8", "replace")) // 4)
