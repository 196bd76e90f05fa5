"""Which files the user trusts, and which addresses need no trust.

A working tree is not the user: a cloned repository could name its own host and be sent the user's keys. What a
file from one may decide is limited until `llmswitch profiles trust` keeps its absolute path and the SHA-256 of
the very bytes that were parsed; one changed byte ends the trust.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from llmswitch.errors import ConfigError
from llmswitch.paths import write_private

__all__ = ["TrustStore", "checked_url", "is_loopback"]

_AUTHORITY = re.compile(
    r"(?:[^@\[\]]*@)?"
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[0-9]+(?:\.[0-9]+){3})|[A-Za-z0-9._-]+)"
    r"(?::[0-9]*)?"
)


def checked_url(value: str, name: str) -> str:
    """`value` if it is an http(s) URL that every parser reads the same way; ConfigError names `name` otherwise."""
    hint = f"{name} must be a URL such as https://host/v1"
    if any(c <= " " or c in "\\\x7f" for c in value) or not value.isascii():
        raise ConfigError(f"{hint}: it holds a space, a backslash or a character that is not ASCII.")
    import ipaddress  # only asked of addresses that somebody set

    try:
        parts = urlsplit(value)
        port = _port(parts)
        authority = _AUTHORITY.fullmatch(parts.netloc)
        if authority and authority["six"]:
            ipaddress.IPv6Address(authority["six"])
        if authority and authority["four"]:
            ipaddress.IPv4Address(authority["four"])
    except ValueError as error:
        raise ConfigError(f"{hint}: {error}.") from error
    if parts.scheme not in ("http", "https", "redis", "rediss") or not authority or port == 0:
        raise ConfigError(f"{hint}.")
    return value


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        # not urllib's own words, nor as their cause: they hold what stands there, which may be half of a password
        raise ValueError("its port is no number up to 65535, or a '/' of its password is not written %2F") from None


def is_loopback(url: str) -> bool:
    """Whether `url` names this machine by number, or as localhost; no name is looked up."""
    import ipaddress  # only asked of addresses that a working tree sets, or of http:// ones

    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class TrustStore(NamedTuple):
    """Absolute path -> SHA-256, in one JSON file of the user's config folder."""

    path: Path

    def _read(self) -> dict[str, str]:
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigError(f"cannot read the list of trusted files {self.path}: {error.strerror}.") from error
        except (ValueError, RecursionError):
            kept = None
        if not isinstance(kept, dict):
            raise ConfigError(f"the list of trusted files {self.path} is damaged: move it away and trust again.")
        return {str(k): str(v) for k, v in kept.items()}

    @staticmethod
    def _name(file: Path) -> str:
        """Absolute and without '..', however it was typed; a link stays a name of its own."""
        return os.path.abspath(file)

    def trusts(self, file: Path, content: bytes) -> bool:
        """Whether exactly these bytes, at this absolute path, were trusted."""
        return self._read().get(self._name(file)) == hashlib.sha256(content).hexdigest()

    def add(self, file: Path, content: bytes) -> str:
        """Trust `content` at `file`; returns its digest. Raises OSError where it cannot be kept."""
        digest = hashlib.sha256(content).hexdigest()
        write_private(self.path, json.dumps({**self._read(), self._name(file): digest}, indent=1) + "\n")
        return digest
