"""Refuses every address but loopback. Python imports a module of this name at start-up where it is on the path."""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import Any


def _is_loopback(host: object) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        text = host.decode() if isinstance(host, bytes) else str(host)
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


class RealAddressError(ConnectionRefusedError):
    """A test tried to leave this machine."""


def _check(address: Any) -> None:
    if isinstance(address, tuple) and not _is_loopback(address[0]):
        raise RealAddressError(f"tests talk to loopback alone, not to {address[0]}")


def refuse_all_but_loopback() -> None:
    """Patch the socket module: connecting anywhere else, or looking it up, raises RealAddressError."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _check(address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        _check(address)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *rest: Any, **named: Any) -> Any:
        _check((host,))
        return getaddrinfo(host, *rest, **named)

    socket.socket.connect = guarded_connect  # type: ignore[method-assign,assignment]  # the point of a guard
    socket.socket.connect_ex = guarded_connect_ex  # type: ignore[method-assign,assignment]  # the point of a guard
    socket.getaddrinfo = guarded_getaddrinfo


if os.environ.get("LLMSWITCH_TEST_GUARD"):
    refuse_all_but_loopback()
