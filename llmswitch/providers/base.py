"""What every vendor's file offers: a `Vendor` row, and adapters that are a `Provider`; and how its address is read.

Importing a vendor's file imports no SDK; `Vendor.connect` does, once, when a request must really go out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable
from urllib.parse import urlsplit

from llmswitch.errors import ConfigError
from llmswitch.profiles import Settings
from llmswitch.types import Chunk, Request, Response, Secret

if TYPE_CHECKING:
    from llmswitch.providers.batching import Batching

__all__ = ["IMAGES", "PDF", "Counter", "Endpoint", "Offers", "Provider", "Variables", "Vendor", "endpoint_url"]

IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
PDF = frozenset({"application/pdf"})


class Provider(Protocol):
    """What answers a request. An adapter translates and no more; a layer wraps a Provider and is one."""

    async def complete(self, request: Request) -> Response:
        """The whole answer in one piece; raises a ProviderError."""
        ...

    def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The answer as it comes; raises a ProviderError, at the first piece or in the middle."""
        ...

    async def aclose(self) -> None:
        """Release every socket."""
        ...


@runtime_checkable
class Counter(Protocol):
    """An adapter whose vendor counts the tokens of a request without answering it. Those calls are free."""

    async def count(self, request: Request) -> int | None:
        """Tokens of its whole input; None where the vendor's word is none. Raises a ProviderError."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where calls go and as whom; nothing about the question. `base_url` is the one that is really used."""

    provider: str
    base_url: str
    model: str | None = None
    api_key: Secret | None = None
    #: a bearer token in the key's place (Azure's Entra ID)
    token: Secret | None = None
    api_version: str | None = None
    organization: str | None = None
    project: str | None = None
    location: str | None = None
    #: goes before a request that has no system prompt of its own
    system: str | None = None
    #: the vendor and model to look up in the price list, where they are not `provider` and the model asked for
    price_provider: str | None = None
    price_model: str | None = None
    #: what else tells one model from another of the same name: size and time of a file of weights
    fingerprint: str | None = None
    connect_timeout_s: float = 10.0
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    #: whether it will be asked again and again, so that the adapter may take its time to get ready
    lasting: bool = False

    def identity(self) -> dict[str, Any]:
        """Everything here that can change an answer, for the cache key; no secret among it."""
        return {
            "provider": self.provider,
            "base_url": _without_user(self.base_url),
            "api_version": self.api_version,
            "organization": self.organization,
            "project": self.project,
            "location": self.location,
            "fingerprint": self.fingerprint,
            "headers": sorted(self.headers),
        }


def _without_user(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


class Variables(NamedTuple):
    """What an error tells its reader to check: the names of an endpoint's variables."""

    key: str
    url: str
    model: str


class Offers(NamedTuple):
    """What a vendor's interface has beside plain answers, None where nobody can say: whoever runs a server decides.

    `schema` is an answer held to a JSON Schema, `batch` a batch interface, `caching` that the beginning of a prompt
    which it has seen costs less, or is answered sooner. True where some of its models have it; not all need to.
    """

    schema: bool | None = None
    batch: bool | None = None
    caching: bool | None = None


#: nobody knows anything
_UNTOLD = Offers()


class Vendor(NamedTuple):
    """One row: how a provider is called, configured and reached.

    `needs` are alternative variables, any of which makes it configured; `accepts` the media types it takes, `offers`
    what else it has.
    `configure` reads the settings (ConfigError names the variable to set) and sends nothing; `connect` imports
    the SDK and returns the adapter; `preview` is the body that `connect`'s adapter would send, for --dry-run.
    `locate` refines the endpoint for one model, where a model is more than a name. `asks` are the variables that
    `llmswitch init` asks for. `rehearsal` is a short answer as the vendor streams it, for runs/rehearsal.py; empty
    where there is no SDK to warm up.
    """

    key: str
    title: str
    needs: tuple[str, ...]
    model_variable: str
    configure: Callable[[Settings], Endpoint]
    connect: Callable[[Endpoint], Provider]
    preview: Callable[[Endpoint, Request], dict[str, Any]]
    default_model: str | None = None
    accepts: frozenset[str] = frozenset()
    offers: Offers = _UNTOLD
    #: tokens a call is capped at where nobody said, for vendors that require a cap
    default_max_tokens: int | None = None
    locate: Callable[[Endpoint, str], Endpoint] | None = None
    asks: tuple[str, ...] = ()
    rehearsal: str = ""
    #: whether two calls wait for each other, so that comparing them side by side would time the wait
    one_at_a_time: bool = False
    #: whether its adapter is a `Counter`
    counts: bool = False
    #: its batch interface, None where it has none
    batch: Batching | None = None

    def configured(self, settings: Settings) -> bool:
        """Whether a profile or the environment names what this provider needs."""
        return any(settings.find(name) for name in self.needs)


def endpoint_url(settings: Settings, name: str, default: str | None = None) -> str:
    """The base URL in variable `name`, or the default; ConfigError where neither is one that a path can follow."""
    url = settings.url(name) or default
    if url is None:
        raise ConfigError(f"{name} is not set: give the server's address, such as http://127.0.0.1:8000/v1.")
    parts = urlsplit(url)
    if parts.query or parts.fragment or parts.scheme not in ("http", "https"):
        raise ConfigError(f"{settings.where(name)} must be an http(s) address without '?' and '#'.")
    return url
