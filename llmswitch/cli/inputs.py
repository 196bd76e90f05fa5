"""What a command reads: the prompt from argument, file and stdin, and attachments. Nothing is read without a bound."""

from __future__ import annotations

import os
import select
from pathlib import Path

from llmswitch.cli.shell import Shell
from llmswitch.errors import ConfigError
from llmswitch.text import encodable
from llmswitch.types import Attachment

__all__ = ["Inputs", "read_bounded"]

_LARGEST_TEXT = 10_000_000
_LARGEST_ATTACHMENT = 20_000_000
_SILENCE_S = 3.0

#: the first bytes of what vendors take; a name's ending is not asked
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)


def _media_type(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of a file of at most `limit`, or of a pipe as in `-f <(git diff)`; ConfigError says what is wrong."""
    try:
        # without O_NONBLOCK a pipe that nobody writes to would be waited for without end; this way it is empty
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as stream:
            os.set_blocking(stream.fileno(), True)
            data = stream.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}.") from error
    _check_size(data, str(path), limit)
    return data


def _check_size(data: bytes, name: str, limit: int) -> None:
    if len(data) > limit:
        raise ConfigError(f"{name} is over {limit // 1_000_000} MB, which no model takes: send the part that matters.")


def _as_text(data: bytes, name: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8 text: images and PDFs go with --attachment.") from error
    if "\0" in text:
        raise ConfigError(f"{name} is binary, not text: images and PDFs go with --attachment.")
    return text


class Inputs:
    """Reads each source at most once: only one of prompt, prompt file and attachment can have stdin."""

    def __init__(self, shell: Shell, *, no_stdin: bool = False) -> None:
        self.shell = shell
        self.no_stdin = no_stdin
        self._taken_by: str | None = None

    def prompt(self, argument: str | None, file: str | None) -> str:
        """Piped stdin, prompt file and argument, joined by a blank line; ConfigError where that is nothing."""
        parts = []
        if file == "":
            raise ConfigError("--file names no file.")
        if argument == "-":
            parts.append(self._required("standard input", self._stdin("the prompt")))
        elif file != "-" and self._piped():
            parts.append(self._stdin("more of the prompt" if argument or file else "the prompt").strip("\n"))
        if file == "-":
            parts.append(self._required("standard input", self._stdin("--file")))
        elif file is not None:
            data = read_bounded(Path(file), _LARGEST_TEXT)
            parts.append(self._required(file, _as_text(data, file).rstrip("\n")))
        if argument is not None and argument != "-":
            parts.append(argument)
        text = "\n\n".join(part for part in parts if part.strip())
        if not text:
            raise ConfigError("no prompt: type one in quotes, or pipe it in, or name a file with -f.")
        return text

    def attachments(self, names: list[str]) -> tuple[tuple[Attachment, ...], str]:
        """Images and PDFs by their content, and the text of text files to go before the prompt."""
        found, texts = [], []
        for name in names:
            if not name:
                raise ConfigError("--attachment names no file.")
            if name == "-":
                data = self._stdin_bytes("--attachment", _LARGEST_ATTACHMENT)
            else:
                data = read_bounded(Path(name), _LARGEST_ATTACHMENT)
            label = "standard input" if name == "-" else encodable(Path(name).name)
            if not data:
                raise ConfigError(f"the attachment {label} is empty.")
            kind = _media_type(data)
            if kind is not None:
                found.append(Attachment(kind, data, label))
                continue
            try:
                texts.append(f"{label}:\n\n{_as_text(data, label)}")
            except ConfigError as error:
                raise ConfigError(
                    f"the attachment {label} is neither text nor an image (PNG, JPEG, GIF, WebP) nor a PDF."
                ) from error
        return tuple(found), "\n\n".join(texts)

    def _required(self, name: str, text: str) -> str:
        if not text.strip():
            raise ConfigError(f"{name} is empty: there is no prompt in it.")
        return text

    def _piped(self) -> bool:
        if self.no_stdin or self._taken_by is not None or self.shell.stdin is None or self.shell.stdin.closed:
            return False
        return not self.shell.stdin.isatty()

    def _stdin(self, purpose: str) -> str:
        return _as_text(self._stdin_bytes(purpose, _LARGEST_TEXT), "standard input")

    def _stdin_bytes(self, purpose: str, limit: int) -> bytes:
        if self._taken_by is not None:
            raise ConfigError(f"standard input cannot be both {self._taken_by} and {purpose}.")
        if self.no_stdin:
            raise ConfigError(f"{purpose} is to come from standard input, and --no-stdin says not to read it.")
        self._taken_by = purpose
        if self.shell.stdin is None or self.shell.stdin.closed:
            return b""
        descriptor = self.shell.stdin.fileno()
        data, told = bytearray(), False
        while len(data) <= limit:
            if not told and not _readable(descriptor, _SILENCE_S):
                self.shell.note(f"waiting for {purpose} on standard input; end it with Ctrl-D, or give --no-stdin.")
                told = True
            try:
                piece = os.read(descriptor, 1 << 16)
            except OSError as error:
                raise ConfigError(f"cannot read standard input: {error.strerror}.") from error
            if not piece:
                break
            data += piece
        whole = bytes(data)
        _check_size(whole, "standard input", limit)
        return whole


def _readable(descriptor: int, seconds: float) -> bool:
    """Whether something, or the end, comes in time. Where that cannot be asked (Windows pipes), says yes."""
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    except (OSError, ValueError):
        return True
