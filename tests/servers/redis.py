"""A real redis-server on a loopback port of its own, which can be stopped and started again in the middle.

with RedisServer() as redis:
    ... REDIS_URL=redis.url ...
"""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["RedisServer", "missing"]

_PATIENCE_S = 10.0


def missing() -> str | None:
    """Why no server can be started here; None where one can."""
    return None if shutil.which("redis-server") else "redis-server is not installed (apt-get install redis-server)"


class RedisServer:
    """Keeps nothing on disk: what was in it is gone after `stop`. With `tls`, it answers on TLS alone, and `ca` is the
    file that a client must trust."""

    def __init__(self, *, password: str | None = None, tls: bool = False) -> None:
        self.password = password
        self.tls = tls
        self.port = _free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="redis-")
        self._process: subprocess.Popen[bytes] | None = None
        if tls:
            _make_certificate(self.ca, self._key)

    @property
    def url(self) -> str:
        """What REDIS_URL is set to."""
        user = f":{self.password}@" if self.password else ""
        query = f"?ssl_ca_certs={self.ca}" if self.tls else ""
        return f"redis{'s' if self.tls else ''}://{user}127.0.0.1:{self.port}/0{query}"

    @property
    def ca(self) -> Path:
        """The certificate, which signed itself."""
        return Path(self._folder.name) / "certificate.pem"

    @property
    def _key(self) -> Path:
        return Path(self._folder.name) / "key.pem"

    def start(self) -> None:
        """Run it, and return once it answers."""
        assert self._process is None, "it runs already"
        log = Path(self._folder.name) / "log"
        with open(log, "wb") as out:
            self._process = subprocess.Popen(
                ["redis-server", *self._options()], stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        deadline = time.monotonic() + _PATIENCE_S
        while b"Ready to accept connections" not in log.read_bytes():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"redis-server did not start: {log.read_text()}")
            time.sleep(0.005)

    def stop(self) -> None:
        """End it at once, as a machine that fails does; every connection breaks."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Again on the same port, and empty."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._folder.cleanup()

    def _options(self) -> list[str]:
        plain, secure = ("0", str(self.port)) if self.tls else (str(self.port), "0")
        options = ["--bind", "127.0.0.1", "--port", plain, "--dir", self._folder.name, "--save", "", "--databases", "2"]
        if self.tls:
            options += ["--tls-port", secure, "--tls-auth-clients", "no", "--tls-ca-cert-file", str(self.ca)]
            options += ["--tls-cert-file", str(self.ca), "--tls-key-file", str(self._key)]
        return options + (["--requirepass", self.password] if self.password else [])


def _free_port() -> int:
    """Below the ports that outgoing connections get: one of those could take the port while the server is stopped."""
    while True:
        port = random.randint(20_000, 32_000)  # noqa: S311  # no secret
        with socket.socket() as attempt:
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _make_certificate(certificate: Path, key: Path) -> None:
    openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    named = ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*openssl, *files, *named], check=True, capture_output=True)
