"""Google's Gemini, through its own SDK (facts read from google-genai 3.4): with a key, or on Vertex AI."""

from __future__ import annotations

import logging
import re
import time
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, aclosing
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from llmswitch.errors import ConfigError
from llmswitch.profiles import Settings
from llmswitch.providers.base import IMAGES, PDF, Endpoint, Offers, Variables, Vendor, endpoint_url
from llmswitch.providers.failures import UndecodableError, translated
from llmswitch.providers.gemini_batch import BATCHING
from llmswitch.providers.gemini_codec import decode, decode_chunk, encode, is_answer, model_name, preview
from llmswitch.providers.gemini_errors import KEY_VARIABLES
from llmswitch.providers.values import Halves, token_count
from llmswitch.types import Chunk, Request, Response

if TYPE_CHECKING:
    import httpx2
    from google.genai import Client

__all__ = ["VENDOR", "GeminiProvider"]

_BASE_URL = "https://generativelanguage.googleapis.com"

#: The SDK's own (_api_client.py), written down because the SDK would ask the environment first. `beta` is its word
#: for the newest.
_KEY_VERSIONS = {None: "v1", "beta": "v1beta"}
_VERTEX_VERSIONS = {None: "v1beta1", "beta": "v1beta1"}

_VERTEX_VARIABLES = Variables(
    key="the application-default credentials ('gcloud auth application-default login') and GOOGLE_PROJECT_ID",
    url="GOOGLE_LOCATION",
    model="GEMINI_MODEL",
)

#: the response of the call that runs in this context; see `GeminiProvider.stream`
_response: ContextVar[httpx2.Response] = ContextVar("gemini_response")


def _configure(settings: Settings) -> Endpoint:
    timeout = settings.seconds("LLM_CONNECT_TIMEOUT")
    version = settings.get("GOOGLE_GENAI_API_VERSION")
    if version is not None and not re.fullmatch(r"[a-z0-9.]+", version):
        where = settings.where("GOOGLE_GENAI_API_VERSION")
        raise ConfigError(f"{where} must be a version such as v1 or v1beta, not {version!r}.", provider="gemini")
    if _asks_vertex(settings):
        return _vertex(settings, version, timeout)
    key = settings.secret("GOOGLE_API_KEY")
    if key is None:
        raise ConfigError(
            "gemini needs a key: set GOOGLE_API_KEY in a profile or in the environment, or GOOGLE_PROJECT_ID and "
            "GOOGLE_LOCATION for Vertex AI.",
            provider="gemini",
        )
    return Endpoint(
        provider="gemini",
        base_url=endpoint_url(settings, "GOOGLE_GEMINI_BASE_URL", _BASE_URL),
        model=settings.get("GEMINI_MODEL"),
        api_key=key,
        api_version=_KEY_VERSIONS.get(version, version),
        price_provider="google",
        connect_timeout_s=timeout,
    )


def _asks_vertex(settings: Settings) -> bool:
    """Whether a project is named where no key is, or by a stronger source: a profile's project beats a stray key."""
    key, project = settings.find("GOOGLE_API_KEY"), settings.find("GOOGLE_PROJECT_ID")
    if key is None or project is None:
        return project is not None
    return settings.sources.index(project.source) < settings.sources.index(key.source)


def _vertex(settings: Settings, version: str | None, timeout: float) -> Endpoint:
    project, location = settings.get("GOOGLE_PROJECT_ID"), settings.get("GOOGLE_LOCATION")
    if location is None:
        raise ConfigError(
            f"{settings.where('GOOGLE_PROJECT_ID')} means Vertex AI, which needs GOOGLE_LOCATION, too: "
            "set it to a region such as europe-west4, or to global.",
            provider="gemini",
        )
    # the SDK makes the host's name of it, and would send the bearer token to whatever host that is
    if not re.fullmatch(r"[a-z0-9-]+", location):
        raise ConfigError(
            f"{settings.where('GOOGLE_LOCATION')} must be a region such as europe-west4, or global, not {location!r}.",
            provider="gemini",
        )
    return Endpoint(
        provider="gemini",
        base_url=endpoint_url(settings, "GOOGLE_GEMINI_BASE_URL", _vertex_url(location)),
        model=settings.get("GEMINI_MODEL"),
        api_version=_VERTEX_VERSIONS.get(version, version),
        project=project,
        location=location,
        price_provider="google",
        connect_timeout_s=timeout,
    )


def _vertex_url(location: str) -> str:
    """The host that serves a location, as the SDK names it (_api_client.py)."""
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in ("us", "eu"):
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


class GeminiProvider:
    """One endpoint's adapter. It translates and no more: every call is one HTTP request."""

    def __init__(self, endpoint: Endpoint, *, wall: Callable[[], float] = time.time) -> None:
        from llmswitch.providers.gemini_errors import native_errors
        from llmswitch.providers.http import http_client

        self._endpoint = endpoint
        self._wall = wall
        self._variables = _VERTEX_VARIABLES if endpoint.api_key is None else KEY_VARIABLES
        self._native_errors = tuple(native_errors())
        self._http = http_client(endpoint, self._variables.url)
        self._http.event_hooks = {"request": [self._bound], "response": [_keep]}
        self._client = _client(endpoint, self._http)

    async def _bound(self, request: httpx2.Request) -> None:
        """The SDK sends `timeout=None` with each request, which would lift the deadline for connecting."""
        request.extensions["timeout"] = self._http.timeout.as_dict()

    async def complete(self, request: Request) -> Response:
        """The whole answer in one piece; raises a ProviderError."""
        contents, config = _arguments(encode(self._endpoint, request))
        model = model_name(request.model)
        with self._translated(request):
            answer = await self._client.aio.models.generate_content(model=model, contents=contents, config=config)
            return decode(self._endpoint, request, answer)

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The answer as it comes; raises a ProviderError. Closing it closes the connection."""
        contents, config = _arguments(encode(self._endpoint, request))
        model = model_name(request.model)
        response, answered, halves = None, False, Halves()
        with self._translated(request):
            pieces = await self._client.aio.models.generate_content_stream(
                model=model, contents=contents, config=config
            )
            try:
                async with aclosing(pieces):  # type: ignore[type-var]  # it is an async generator
                    async for piece in pieces:
                        response = response or _response.get()
                        answered = answered or is_answer(piece)
                        yield halves.join(decode_chunk(piece))
            finally:
                # closing the SDK's outermost generator closes none of those within, and so no connection
                if response is not None:
                    await response.aclose()
            if not answered:
                raise UndecodableError("it holds no event")
            for chunk in halves.rest():
                yield chunk

    async def count(self, request: Request) -> int | None:
        """Tokens of the request, by `models.count_tokens`; raises a ProviderError.

        The SDK takes a system prompt on Vertex AI alone: with a key it goes as one more content, of the same tokens.
        """
        from google.genai.types import Content, CountTokensConfig

        contents, config = _arguments(encode(self._endpoint, request))
        counting = None
        if request.system and self._endpoint.api_key is None:
            counting = CountTokensConfig(system_instruction=config.system_instruction)
        elif request.system:
            contents.insert(0, Content.model_validate({"role": "user", "parts": [{"text": request.system}]}))
        model = model_name(request.model)
        with self._translated(request):
            counted = await self._client.aio.models.count_tokens(model=model, contents=contents, config=counting)
            return token_count(counted.total_tokens)

    async def aclose(self) -> None:
        """Release every socket."""
        self._client.close()
        await self._http.aclose()

    def _translated(self, request: Request) -> AbstractContextManager[None]:
        from llmswitch.providers.gemini_errors import read

        return translated(
            self._native_errors,
            lambda error: read(error, request, self._wall()),
            endpoint=self._endpoint,
            request_model=request.model,
            variables=self._variables,
        )


async def _keep(response: httpx2.Response) -> None:
    _response.set(response)


def _client(endpoint: Endpoint, http: httpx2.AsyncClient) -> Client:
    """The SDK's client: no retries, our HTTP client under it, nothing of the environment in it.

    With a client of ours it uses no other, aiohttp included, and closes none.
    """
    # It warns on stderr of two keys in the environment, none of which it gets to use, and of a word in an answer
    # that is not in its enums, which our tables answer.
    import httpx2

    logging.getLogger("google_genai").addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", message=".* is not a valid ", module=r"google\.genai\._common")
    # nothing is asked without `await`: a client that cannot send spares loading the certificates once more
    unused = httpx2.Client(trust_env=False, transport=httpx2.BaseTransport())
    try:
        from google.genai import Client
        from google.genai.client import DebugConfig
        from google.genai.types import HttpOptions

        return Client(
            vertexai=endpoint.api_key is None,
            api_key=endpoint.api_key.reveal() if endpoint.api_key is not None else None,
            project=endpoint.project,
            location=endpoint.location,
            # or GOOGLE_GENAI_CLIENT_MODE would answer from files
            debug_config=DebugConfig(client_mode=None, replays_directory=None, replay_id=None),
            http_options=HttpOptions(
                base_url=endpoint.base_url,
                api_version=endpoint.api_version,
                headers=dict(endpoint.headers),
                httpx_async_client=http,
                httpx_client=unused,
            ),
        )
    except ImportError as error:
        raise ConfigError(f"the SDK of gemini does not start: {error} Unset GOOGLE_GENAI_HTTP_CLIENT.") from error


def _arguments(body: dict[str, Any]) -> tuple[list[Any], Any]:
    """The SDK's `contents` and `config` for a body; it takes REST's own names."""
    from google.genai.types import Content, GenerateContentConfig

    generation = dict(body["generationConfig"])
    thinking = generation.pop("thinkingConfig", None)
    config = {
        **generation,
        "systemInstruction": body.get("systemInstruction"),
        # both would send further requests, and further bills
        "automaticContinuation": False,
        "automaticFunctionCalling": {"disable": True},
    }
    if thinking is not None:  # past the SDK's enum, so that a level it does not know is the vendor's to judge
        config["httpOptions"] = {"extraBody": {"generationConfig": {"thinkingConfig": thinking}}}
    contents = [Content.model_validate(content) for content in body["contents"]]
    return contents, GenerateContentConfig.model_validate(config)


_REHEARSAL = (
    'data: {"candidates": [{"content": {"parts": [{"text": "-"}], "role": "model"}, "finishReason": "STOP"}],'
    ' "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1}}\n\n'
)

VENDOR = Vendor(
    key="gemini",
    title="Google Gemini",
    needs=("GOOGLE_API_KEY", "GOOGLE_PROJECT_ID"),
    model_variable="GEMINI_MODEL",
    configure=_configure,
    connect=GeminiProvider,
    preview=preview,
    default_model="gemini-3.8-flash",
    accepts=IMAGES | PDF,
    offers=Offers(schema=True, batch=True, caching=True),
    asks=("GOOGLE_API_KEY", "GEMINI_MODEL"),
    rehearsal=_REHEARSAL,
    counts=True,
    batch=BATCHING,
)
