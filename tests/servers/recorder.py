"""A loopback HTTP server that keeps every request and answers as told: plain, streamed, cut or never."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def everything(self) -> str:
        """All of it as one text, to look for what must not be there."""
        return f"{self.path} {dict(self.query)} {dict(self.headers)} {self.body.decode()}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send back. With `events`, a stream of them; `cut` breaks the connection off before its end."""

    body: object = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    events: Sequence[object] | None = None
    #: makes a chunked body as it goes out, instead of `body`
    pieces: Callable[[], Iterable[bytes]] | None = None
    #: hang up without a word
    drop: bool = False
    cut: bool = False
    #: the last event is followed by silence until this is set
    hold: threading.Event | None = None


def sse(event: object) -> bytes:
    """One server-sent event: a text goes as it is, anything else as JSON."""
    text = event if isinstance(event, str) else json.dumps(event)
    return f"data: {text}\n\n".encode()


class Handler(BaseHTTPRequestHandler):
    """One connection, one request."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
        self.close_connection = True
        self.server.owner.seen.append(seen)
        try:
            self.server.owner.respond(seen, self)
        except (BrokenPipeError, ConnectionResetError):
            self.server.owner.left.set()

    do_GET = do_POST  # noqa: N815  # the name that http.server calls

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Status line and headers."""
        self.send_response(status)
        for name, value in {"connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        """A piece of a chunked body; an empty one ends it."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's own name
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # the default of 5 makes the sixth of several clients that come at once wait for a second
    request_queue_size = 64
    owner: Loopback


class Loopback:
    """The server's life; a subclass says what it answers."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        #: set when a client went away before its answer ended
        self.left = threading.Event()
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The root, without a closing slash."""
        return f"http://127.0.0.1:{self.port}"

    def respond(self, seen: Seen, out: Handler) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Recorder(Loopback):
    """Answers every request with `answer`, or with what it returns for the request; it may be replaced."""

    def __init__(self, answer: Answer | Callable[[Seen], Answer] = Answer()) -> None:
        super().__init__()
        self.answer = answer

    def respond(self, seen: Seen, out: Handler) -> None:
        answer = self.answer(seen) if callable(self.answer) else self.answer
        if answer.drop:
            return
        if answer.pieces is not None:
            out.start(answer.status, {"transfer-encoding": "chunked", **answer.headers})
            for piece in answer.pieces():
                out.chunk(piece)
            out.chunk(b"")
            return
        if answer.events is None:
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            length = len(body) + (1 if answer.cut else 0)
            out.start(
                answer.status, {"content-type": "application/json", "content-length": str(length), **answer.headers}
            )
            out.wfile.write(body)
            return
        out.start(
            answer.status, {"content-type": "text/event-stream", "transfer-encoding": "chunked", **answer.headers}
        )
        for event in answer.events:
            out.chunk(sse(event))
        while answer.hold is not None and not answer.hold.wait(0.01):
            # a write is how the client's leaving is noticed; Google's SDK takes a comment for a broken event
            out.chunk(b"\n")
        if not answer.cut:
            out.chunk(b"")
