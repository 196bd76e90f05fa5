"""Azure OpenAI: the v1 path through OpenAI's own client, the dated path where an API version is named.

Who calls is decided in a fixed order: AZURE_OPENAI_API_KEY, else AZURE_OPENAI_AD_TOKEN, else azure-identity.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from llmswitch.errors import AuthenticationError, ConfigError
from llmswitch.profiles import Settings
from llmswitch.providers.base import IMAGES, PDF, Endpoint, Offers, Provider, Variables, Vendor, endpoint_url
from llmswitch.providers.batching import Batcher, Batching, JobLimits
from llmswitch.providers.chat import ChatAdapter, plain_client, seal
from llmswitch.providers.chat_batch import ChatBatcher
from llmswitch.providers.chat_batch_codec import line
from llmswitch.providers.chat_codec import REHEARSAL, Dialect, encode
from llmswitch.types import Request

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["VENDOR"]

_VARIABLES = Variables(
    key="AZURE_OPENAI_API_KEY or AZURE_OPENAI_AD_TOKEN",
    url="AZURE_OPENAI_ENDPOINT",
    model="AZURE_OPENAI_DEPLOYMENT_NAME",
)
_CURRENT = Dialect(_VARIABLES, names={"max_tokens": "max_completion_tokens"})
#: API versions before this date answer 400 to `stream_options`, and know `max_tokens` alone
_CURRENT_SINCE = "2024-08-01"
_OLD = Dialect(_VARIABLES, stream_usage=False)

#: as Azure's guide to batches has it, on either path (MicrosoftDocs/azure-ai-docs, includes/batch/batch-rest.md)
_BATCH_URL = "/chat/completions"
#: that guide's: requests and bytes of a file
_BATCH_LIMITS = JobLimits(lines=100_000, bytes=200_000_000)

_SCOPE = "https://cognitiveservices.azure.com/.default"


def _configure(settings: Settings) -> Endpoint:
    resource = _resource(settings)
    version = settings.get("AZURE_OPENAI_API_VERSION")
    if version is not None and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?", version):
        raise ConfigError(
            f"{settings.where('AZURE_OPENAI_API_VERSION')} must be a date such as 2024-10-21, "
            f"or empty for the v1 path, not {version!r}.",
            provider="azure",
        )
    key = settings.secret("AZURE_OPENAI_API_KEY")
    token = settings.secret("AZURE_OPENAI_AD_TOKEN") if key is None else None
    if key is None and token is None and not _has_identity():
        raise ConfigError(
            "Azure needs AZURE_OPENAI_API_KEY or AZURE_OPENAI_AD_TOKEN in the profile or the environment, "
            "or an Entra ID login: pip install 'llmswitch[azure]', then az login.",
            provider="azure",
        )
    return Endpoint(
        provider="azure",
        base_url=resource + ("/openai" if version else "/openai/v1"),
        model=settings.get("AZURE_OPENAI_DEPLOYMENT_NAME"),
        api_key=key,
        token=token,
        api_version=version,
        price_model=settings.get("AZURE_OPENAI_MODEL"),
        connect_timeout_s=settings.seconds("LLM_CONNECT_TIMEOUT"),
    )


def _resource(settings: Settings) -> str:
    """The resource's address alone, though the portal shows longer ones."""
    name = "AZURE_OPENAI_ENDPOINT"
    hint = "the resource's address alone, such as https://RESOURCE.openai.azure.com"
    if settings.get(name) is None:
        raise ConfigError(f"{name} is not set: give {hint}.", provider="azure")
    url = endpoint_url(settings, name)
    resource = re.sub(r"/openai(/v1)?$", "", url)
    if "/deployments" in resource or "/openai" in resource:
        raise ConfigError(f"{settings.where(name)} must be {hint}.", provider="azure")
    return resource


def _has_identity() -> bool:
    try:
        return find_spec("azure.identity") is not None
    except ModuleNotFoundError:
        return False


def _dialect(endpoint: Endpoint) -> Dialect:
    return _OLD if endpoint.api_version and endpoint.api_version < _CURRENT_SINCE else _CURRENT


def _encode(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    """The body; the deployment is its `model`. ConfigError where the dated path could not hold its name."""
    if endpoint.api_version and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", request.model):
        raise ConfigError(
            f"{request.model!r} is not the name of an Azure deployment: letters, digits, '.', '_' and '-'.",
            provider="azure",
        )
    return encode(_dialect(endpoint), endpoint, request)


def _connect(endpoint: Endpoint) -> Provider:
    return ChatAdapter(endpoint, _client(endpoint), _dialect(endpoint), _encode)


def _connect_batcher(endpoint: Endpoint) -> Batcher:
    return ChatBatcher(endpoint, _client(endpoint, endless=True), _dialect(endpoint), _BATCH_URL)


def _encode_line(endpoint: Endpoint, custom_id: str, request: Request) -> dict[str, Any]:
    return line(_BATCH_URL, custom_id, _encode(endpoint, request))


def _client(endpoint: Endpoint, *, endless: bool = False) -> AsyncOpenAI:
    make = _v1_client if endpoint.api_version is None else _dated_client
    return make(endpoint, endless=endless)


def _v1_client(endpoint: Endpoint, *, endless: bool = False) -> AsyncOpenAI:
    """OpenAI's own, as Azure documents it: key and token alike go as Bearer."""
    secret = endpoint.api_key or endpoint.token
    key = secret.reveal() if secret else _entra_token()
    return plain_client(endpoint, key, _VARIABLES.url, endless=endless)


def _dated_client(endpoint: Endpoint, *, endless: bool = False) -> AsyncOpenAI:
    """The one that puts deployment and API version into the address; a key goes as `api-key`, a token as Bearer."""
    from openai import AsyncAzureOpenAI

    from llmswitch.providers.http import http_client

    key, token = endpoint.api_key, endpoint.token
    http = http_client(endpoint, _VARIABLES.url, endless=endless)
    client = AsyncAzureOpenAI(
        base_url=endpoint.base_url,
        api_version=endpoint.api_version,
        api_key=key.reveal() if key else None,
        azure_ad_token=token.reveal() if token else None,
        azure_ad_token_provider=None if key or token else _entra_token(),
        timeout=http.timeout,
        max_retries=0,
        http_client=http,
    )
    seal(client, endpoint)
    return client


def _entra_token() -> Callable[[], Awaitable[str]]:
    """Asks azure-identity for a token, which it keeps until shortly before the token ends.

    Its async half needs aiohttp, which it does not bring; the other one waits in a thread.
    """
    import asyncio

    from azure.core.exceptions import AzureError
    from azure.identity import DefaultAzureCredential, get_bearer_token_provider

    ask = get_bearer_token_provider(DefaultAzureCredential(), _SCOPE)

    async def token() -> str:
        try:
            return await asyncio.to_thread(ask)
        except AzureError as error:
            reason = str(error).partition("\n")[0]
            raise AuthenticationError(
                f"azure: no Entra ID token: {reason} Log in with az login, or set AZURE_OPENAI_API_KEY.",
                provider="azure",
            ) from error

    return token


VENDOR = Vendor(
    key="azure",
    title="Azure OpenAI",
    needs=("AZURE_OPENAI_ENDPOINT",),
    model_variable="AZURE_OPENAI_DEPLOYMENT_NAME",
    asks=("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_DEPLOYMENT_NAME", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_MODEL"),
    configure=_configure,
    connect=_connect,
    preview=_encode,
    accepts=IMAGES | PDF,
    offers=Offers(schema=True, batch=True, caching=True),
    rehearsal=REHEARSAL,
    batch=Batching(_BATCH_LIMITS, _encode_line, _connect_batcher),
)
