"""Servers that speak OpenAI's format: well-known ones as rows of data, and those a profile names itself.

`LLM_ENDPOINTS=box` makes `box` a provider, which BOX_BASE_URL, BOX_API_KEY and BOX_MODEL configure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from llmswitch.errors import ConfigError
from llmswitch.profiles import Settings
from llmswitch.providers.base import IMAGES, PDF, Endpoint, Offers, Provider, Variables, Vendor, endpoint_url
from llmswitch.providers.chat import ChatAdapter, plain_client
from llmswitch.providers.chat_codec import REHEARSAL, Dialect, encode

__all__ = ["endpoint_names", "endpoint_vendor"]

#: a server of the user's own: it has no batches, and how it caches is its owner's to set
_OWN = Offers(schema=True, batch=False)
#: goes where a server asks for no key: the SDK sends none at all only with a word in its place
_NO_KEY = "none"


@dataclass(frozen=True, slots=True)
class _Server:
    """A server: its address where that is known, and how it differs.

    `prices` is genai-prices' name for it; empty where it has none, as a name of the user's own may be a vendor's there.
    """

    title: str
    base_url: str | None = None
    needs_key: bool = True
    default_model: str | None = None
    prices: str | None = None
    accepts: frozenset[str] = IMAGES
    offers: Offers = Offers()  # noqa: RUF009  # it is frozen
    names: Mapping[str, str] = field(default_factory=dict)
    stream_usage: bool = True


_SERVERS: Mapping[str, _Server] = {
    "ollama": _Server("Ollama", "http://127.0.0.1:11434/v1", needs_key=False, offers=_OWN),
    "vllm": _Server("vLLM", "http://127.0.0.1:8000/v1", needs_key=False, offers=_OWN),
    "lmstudio": _Server("LM Studio", "http://127.0.0.1:1234/v1", needs_key=False, offers=_OWN),
    "groq": _Server(
        "Groq",
        "https://api.groq.com/openai/v1",
        default_model="openai/gpt-oss-20b",
        prices="groq",
        offers=Offers(schema=True, batch=True, caching=True),
    ),
    "deepseek": _Server(
        "DeepSeek",
        "https://api.deepseek.com/v1",
        default_model="deepseek-v4-flash",
        prices="deepseek",
        accepts=frozenset(),
        # JSON, but of no schema
        offers=Offers(schema=False, caching=True),
    ),
    # refuses every field that it does not know (422 extra_forbidden), and sends usage in a stream unasked
    "mistral": _Server(
        "Mistral",
        "https://api.mistral.ai/v1",
        default_model="mistral-small-latest",
        prices="mistral",
        offers=Offers(schema=True, batch=True, caching=True),
        names={"seed": "random_seed"},
        stream_usage=False,
    ),
    "openrouter": _Server(
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        default_model="openai/gpt-6-luna",
        prices="openrouter",
        accepts=IMAGES | PDF,
        offers=Offers(schema=True, caching=True),
    ),
    "xai": _Server(
        "xAI",
        "https://api.x.ai/v1",
        default_model="grok-4-1-fast-non-reasoning",
        prices="x-ai",
        offers=Offers(schema=True, batch=True, caching=True),
    ),
    "together": _Server(
        "Together AI",
        "https://api.together.xyz/v1",
        default_model="openai/gpt-oss-120b",
        prices="together",
        offers=Offers(schema=True, batch=True, caching=True),
    ),
}


def endpoint_names(settings: Settings) -> tuple[str, ...]:
    """Those that LLM_ENDPOINTS names, in its order, then the well-known ones; raises ConfigError."""
    return tuple(dict.fromkeys((*_named(settings), *_SERVERS)))


def endpoint_vendor(name: str, settings: Settings) -> Vendor | None:
    """The row of a well-known server or of one that LLM_ENDPOINTS names; None where `name` is neither.

    A server that needs no key is configured only where the user named it or set one of its variables: otherwise
    Ollama would be asked on machines that have none.
    """
    named = name in _named(settings)
    if not named and name not in _SERVERS:
        return None
    server = _SERVERS.get(name) or _Server(name, needs_key=False, prices="", accepts=IMAGES | PDF)
    variables = _variables(name)
    dialect = Dialect(variables, names=server.names, stream_usage=server.stream_usage)
    optional = (variables.url, variables.key, variables.model, *(("LLM_ENDPOINTS",) if named else ()))
    return Vendor(
        key=name,
        title=server.title,
        needs=(variables.key,) if server.needs_key else optional,
        model_variable=variables.model,
        asks=(variables.url, variables.key, variables.model),
        configure=partial(_configure, name, server, variables),
        connect=partial(_connect, dialect),
        preview=partial(encode, dialect),
        default_model=server.default_model,
        accepts=server.accepts,
        offers=server.offers,
        rehearsal=REHEARSAL,
    )


def _named(settings: Settings) -> tuple[str, ...]:
    names = [part.strip().lower() for part in (settings.get("LLM_ENDPOINTS") or "").split(",")]
    for name in names:
        if name and not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
            raise ConfigError(
                f"{settings.where('LLM_ENDPOINTS')} must be names joined by commas, of letters, digits, '_' and '-', "
                f"not {name!r}."
            )
    return tuple(name for name in names if name)


def _variables(name: str) -> Variables:
    prefix = name.upper().replace("-", "_")
    return Variables(key=f"{prefix}_API_KEY", url=f"{prefix}_BASE_URL", model=f"{prefix}_MODEL")


def _configure(name: str, server: _Server, variables: Variables, settings: Settings) -> Endpoint:
    key = settings.secret(variables.key)
    if key is None and server.needs_key:
        raise ConfigError(
            f"{variables.key} is not set: put it in a profile with 'llmswitch init', or in the environment.",
            provider=name,
        )
    return Endpoint(
        provider=name,
        base_url=endpoint_url(settings, variables.url, server.base_url),
        model=settings.get(variables.model) or server.default_model,
        api_key=key,
        price_provider=server.prices,
        connect_timeout_s=settings.seconds("LLM_CONNECT_TIMEOUT"),
    )


def _connect(dialect: Dialect, endpoint: Endpoint) -> Provider:
    key = endpoint.api_key.reveal() if endpoint.api_key else _NO_KEY
    client = plain_client(endpoint, key, dialect.variables.url)
    return ChatAdapter(endpoint, client, dialect, partial(encode, dialect))
