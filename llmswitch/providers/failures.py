"""How a failed call is told: one wording for every vendor's SDK, and no secret in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from json import JSONDecodeError
from typing import NamedTuple
from urllib.parse import urlsplit

from llmswitch.errors import (
    AuthenticationError,
    CallTimeoutError,
    MalformedError,
    NotFoundError,
    PermissionDeniedError,
    ProviderError,
)
from llmswitch.providers.base import Endpoint, Variables
from llmswitch.text import one_line

__all__ = ["UNREADABLE", "Failure", "UndecodableError", "masked", "translated"]


class UndecodableError(Exception):
    """The answer is not of the format; the text completes 'the answer cannot be read: …'."""


#: What reading an answer raises -> ours. ValueError itself is a number of more digits than Python reads.
UNREADABLE: Mapping[type[Exception], type[ProviderError]] = {
    UndecodableError: MalformedError,
    ValueError: MalformedError,
    RecursionError: MalformedError,  # nested too deep to be an answer
}


class Failure(NamedTuple):
    """A native error as its vendor's tables read it.

    `said` is the vendor's own words, None where it did not answer; `flaw` is why its answer cannot be read, where
    more is known than that. `secrets` are texts beyond the endpoint's own that the request carried and that nothing
    may show.
    """

    kind: type[ProviderError]
    said: str | None = None
    flaw: str | None = None
    status: int | None = None
    request_id: str | None = None
    retry_after_s: float | None = None
    parameter: str | None = None
    secrets: tuple[str, ...] = ()


#: what to look at, by what went wrong
_HINTS: Mapping[type[ProviderError], str] = {
    AuthenticationError: " Check {key}.",
    PermissionDeniedError: " Check what {key} may do.",
    NotFoundError: " Check the model ({model}) and {url}.",
}


@contextmanager
def translated(
    native: tuple[type[Exception], ...],
    read: Callable[[Exception], Failure],
    *,
    endpoint: Endpoint,
    request_model: str | None,
    variables: Variables,
) -> Iterator[None]:
    """Raise for each of the `native` errors what `read` makes of it.

    A vendor may echo the key in what it says: it is taken out of our text, and out of the native error's, which a
    traceback would print.
    """
    try:
        yield
    except native as error:
        if isinstance(error, UnicodeEncodeError):  # a ValueError, but of what was to be sent
            raise
        failure = read(error)
        secrets = (*failure.secrets, *(s.reveal() for s in (endpoint.api_key, endpoint.token) if s is not None))
        error.args = tuple(_without_secrets(str(arg), secrets) for arg in error.args)
        text = _text(failure, error, endpoint, variables)
        # cleaned before it is masked, and masked before it is cut: a key with an escape sequence in it, and half a
        # key, are not recognised
        text = one_line(_without_secrets(one_line(text, len(text)), secrets)).rstrip(".")
        hint = _HINTS.get(failure.kind, "").format(key=variables.key, url=variables.url, model=variables.model)
        raise failure.kind(
            f"{text}.{hint}",
            provider=endpoint.provider,
            request_model=request_model,
            status=failure.status,
            request_id=failure.request_id,
            retry_after_s=failure.retry_after_s,
            parameter=failure.parameter,
        ) from error


def masked(text: str, endpoint: Endpoint) -> str:
    """What a vendor said, on one line and without the endpoint's secrets."""
    secrets = tuple(secret.reveal() for secret in (endpoint.api_key, endpoint.token) if secret is not None)
    return one_line(_without_secrets(one_line(text, len(text)), secrets))


def _without_secrets(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    return text


def _text(failure: Failure, error: Exception, endpoint: Endpoint, variables: Variables) -> str:
    who, status = endpoint.provider, failure.status
    host = urlsplit(endpoint.base_url).netloc.rpartition("@")[2]
    if status is not None and 300 <= status < 400:
        return f"{who} at {host} answered {status}, a redirect, which is not followed. Set {variables.url} to its goal"
    if failure.kind is MalformedError:
        flaw = (failure.flaw or _flaw(error)).rstrip(".")
        return f"{who} at {host} sent an answer that cannot be read: {flaw}. Check that {variables.url} leads there"
    if failure.said is not None:
        said = failure.said.strip()
        if not said or said.startswith("<"):  # a page of HTML says nothing that the status does not
            said = next((known.phrase for known in HTTPStatus if known == status), "it failed and did not say why")
        return f"{who}: {said.rstrip('.')}" + (f" (HTTP {status})" if status else "")
    if failure.kind is CallTimeoutError:
        return f"{who} at {host} took no connection within {endpoint.connect_timeout_s:g} s (LLM_CONNECT_TIMEOUT)"
    cause = error.__cause__ or error
    reason = str(cause).rstrip(".") or type(cause).__name__
    return f"{who}: the connection to {host} failed: {reason}. Check {variables.url}"


def _flaw(error: Exception) -> str:
    if isinstance(error, UndecodableError):
        return str(error)
    no_json = any(isinstance(e, JSONDecodeError | UnicodeDecodeError) for e in (error, error.__cause__))
    return "it is not JSON" if no_json else "it is not of its API's format"
