"""Azure OpenAI's addresses and manners in front of a server that speaks OpenAI's, such as llmock.

    with LLMockServer() as mock, AzureShim(mock.url) as azure:
        ... AZURE_OPENAI_ENDPOINT=azure.url ...

Both paths are taken: `/openai/v1/chat/completions`, and `/openai/deployments/D/chat/completions?api-version=V`,
where D replaces the body's model and an old V refuses `stream_options`, as the real service does.
"""

from __future__ import annotations

import http.client
import json
import re
from urllib.parse import urlsplit

from tests.servers.recorder import Handler, Loopback, Seen

_DATED = re.compile(r"/openai/deployments/([^/]+)(/chat/completions)")


class AzureShim(Loopback):
    """Forwards to `upstream` + `/v1`; `seen` holds the requests as Azure would have got them."""

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self._upstream = urlsplit(upstream).netloc

    def respond(self, seen: Seen, out: Handler) -> None:
        refusal = _refusal(seen)
        if refusal is not None:
            status, error = refusal
            body = json.dumps({"error": error}).encode()
            out.start(status, {"content-length": str(len(body)), "apim-request-id": "apim-refused"})
            out.wfile.write(body)
            return
        self._forward(seen, out)

    def _forward(self, seen: Seen, out: Handler) -> None:
        dated = _DATED.fullmatch(seen.path)
        path = dated[2] if dated else seen.path.removeprefix("/openai/v1")
        body = {**seen.json, "model": dated[1]} if dated else seen.json
        upstream = http.client.HTTPConnection(self._upstream)
        try:
            upstream.request("POST", f"/v1{path}", json.dumps(body), {"content-type": "application/json"})
            reply = upstream.getresponse()
            kept = {n: v for n, v in reply.getheaders() if n.lower() in ("content-type", "retry-after")}
            out.start(reply.status, {**kept, "transfer-encoding": "chunked", "apim-request-id": "apim-1"})
            while piece := reply.read1():
                out.chunk(piece)
            out.chunk(b"")
        except http.client.HTTPException:
            pass  # upstream broke off, so the client's connection ends without its last chunk
        finally:
            upstream.close()


def _refusal(seen: Seen) -> tuple[int, dict[str, object]] | None:
    if "api-key" not in seen.headers and not seen.headers.get("authorization", "").startswith("Bearer "):
        return 401, {"code": "401", "message": "Access denied due to invalid subscription key or wrong API endpoint."}
    if _DATED.fullmatch(seen.path):
        version = seen.query.get("api-version")
        if version is None:
            return 404, {"code": "404", "message": "Resource not found"}
        if version < "2024-08-01" and "stream_options" in seen.json:
            return 400, {"code": None, "message": "Unrecognized request argument supplied: stream_options"}
        return None
    if not seen.path.startswith("/openai/v1/"):
        return 404, {"code": "404", "message": "Resource not found"}
    return None
