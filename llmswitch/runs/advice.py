"""What to do about a call that failed: by the kind of its error, and of a connection by what the system said of it."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llmswitch.errors import LLMSwitchError, QuotaError
from llmswitch.pricelist import LIST_IDS, price_list
from llmswitch.variables import variable

if TYPE_CHECKING:
    from llmswitch.pricing import Prices
    from llmswitch.profiles import Settings
    from llmswitch.runs.call import Call

__all__ = ["is_cut_off", "todo"]

#: OpenSSL's words for a certificate whose time is not now (x509_vfy.h)
_NOT_YET_VALID, _EXPIRED = 9, 10
#: what the system says where no way leads out of this machine
_NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN})


def todo(error: LLMSwitchError, call: Call, settings: Settings, prices: Prices) -> str:
    """What to type or to look at next, as a clause; for `call`, which failed with `error`."""
    if isinstance(error, QuotaError):
        return "add credit, or raise the limit, where the vendor bills you: the key itself is known there"
    if error.kind == "connection":
        return _connection(error, call)
    if error.kind == "not_found":
        return _model(call, prices)
    advice = _BY_KIND.get(error.kind)
    return f"type: llmswitch ask -p {call.endpoint.provider} -v hello" if advice is None else advice(call, settings)


def is_cut_off(error: LLMSwitchError) -> bool:
    """Whether the machine did not even find the way: the name has no address, or the network no route."""
    return any(isinstance(e, socket.gaierror) or getattr(e, "errno", None) in _NO_WAY for e in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What lies behind it, the error itself left out; an HTTP client wraps what the system said more than once."""
    seen: set[int] = set()
    cause = error.__cause__ or error.__context__
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _connection(error: LLMSwitchError, call: Call) -> str:
    host = urlsplit(call.endpoint.base_url).netloc.rpartition("@")[2]
    known = (_of_cause(cause, host) for cause in _causes(error))
    return next((said for said in known if said), f"see whether a proxy or a firewall stands before {host}")


def _of_cause(cause: BaseException, host: str) -> str | None:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _of_certificate(cause)
    if isinstance(cause, ssl.SSLError):
        return f"{host} does not speak TLS as it should: is it http:// rather than https://?"
    if isinstance(cause, socket.gaierror):
        return f"{host} has no address: see that it is written right, and that this machine has a network"
    if isinstance(cause, ConnectionRefusedError):
        return f"nothing listens at {host}: start the server, or put its address right"
    if getattr(cause, "errno", None) in _NO_WAY:
        return "this machine has no network that leads there; behind a proxy: export HTTPS_PROXY=http://HOST:PORT"
    return None


def _of_certificate(cause: ssl.SSLCertVerificationError) -> str:
    if cause.verify_code in (_NOT_YET_VALID, _EXPIRED):
        return "see that this machine's clock is right ('date'): the certificate is not valid at its time"
    return "where a proxy of your own stands between, name its authority: export SSL_CERT_FILE=/path/to/ca.pem"


def _key(call: Call, settings: Settings) -> str | None:
    """The variable that holds the key, with its file; None where the vendor is not asked with one of its own."""
    names = [name for name in call.vendor.asks if (row := variable(name)) is not None and row.secret]
    if call.endpoint.api_key is None:
        return None
    return next((settings.where(name) for name in names if settings.find(name)), None)


def _rejected(call: Call, settings: Settings) -> str:
    where = _key(call, settings)
    if where is None:
        return "type: llmswitch init, which asks for a key, or log in where no key is asked for (gcloud, az)"
    return f"make a new key where the vendor gives them out, and put it into {where}"


def _forbidden(call: Call, settings: Settings) -> str:
    where = _key(call, settings) or "the login"
    return f"the vendor must let {where} use {call.request.model}, or name another model: {call.vendor.model_variable}"


def _model(call: Call, prices: Prices) -> str:
    """Names like the one that was asked for, out of the vendor's own price list."""
    at = call.endpoint
    own = LIST_IDS.get(at.provider, at.price_provider or at.provider)
    models = [model.id for one in price_list(prices.kept).providers if one.id == own for model in one.models]
    close = get_close_matches(call.request.model, [model for model in models if model != call.request.model], n=3)
    meant = f" (near it: {', '.join(close)})" if close else ""
    return f"name a model that there is{meant}: {call.vendor.model_variable}=…; or put the address {at.base_url} right"


def _too_often(call: Call, settings: Settings) -> str:
    name = f"{call.vendor.key.upper().replace('-', '_')}_RPM"
    return f"the key works, and others use up its limit: ask later, or keep to it with {name}=…"


def _vendor_fails(call: Call, settings: Settings) -> str:
    return "wait: it is the vendor that fails, as its status page may say; --fallback asks another meanwhile"


def _slow(call: Call, settings: Settings) -> str:
    host = urlsplit(call.endpoint.base_url).netloc.rpartition("@")[2]
    return f"see whether a proxy or a firewall holds up {host}, or give it more time: --timeout 60"


def _no_api(call: Call, settings: Settings) -> str:
    return f"what answers at {call.endpoint.base_url} is not this API: put the address right"


def _refused(call: Call, settings: Settings) -> str:
    return f"see what is sent: llmswitch ask -p {call.target.text} --dry-run hello"


def _budget(call: Call, settings: Settings) -> str:
    return "type: llmswitch cost budget"


_BY_KIND: Mapping[str, Callable[[Call, Settings], str]] = {
    "authentication": _rejected,
    "permission": _forbidden,
    "rate_limit": _too_often,
    "overloaded": _vendor_fails,
    "server": _vendor_fails,
    "timeout": _slow,
    "malformed": _no_api,
    "truncated": _no_api,
    "bad_request": _refused,
    "context_length": _refused,
    "budget": _budget,
}
