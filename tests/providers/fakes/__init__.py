"""The vendors with a format of their own, each as a row: how its server talks, so that one test can ask them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from llmock.testing import LLMockServer

from llmswitch.providers.base import Vendor
from llmswitch.types import Request
from tests.servers.recorder import Answer, Seen

__all__ = ["Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """A vendor: who asks it, what its server answers, and what its SDK must be kept from."""

    vendor: Vendor
    key: str
    key_variable: str
    url_variable: str
    question: Callable[..., Request]
    #: settings for the server at a URL, more of them by name; and for llmock
    environ_of: Callable[..., dict[str, str]]
    mocked: Callable[[LLMockServer], dict[str, str]]
    #: "Paris", whole or as a stream
    sent: Callable[[Seen], Answer]
    #: status, the vendor's word, message and headers by name -> an error
    refused: Callable[..., Answer]
    #: its word for a key that is none, and its status for too many askers
    unauthorized: str
    overloaded: int
    #: a stream's events until its first text, "Par"
    par: tuple[object, ...]
    #: a text -> the event that brings it; and the events after the last one
    text_event: Callable[[str], object]
    end: tuple[object, ...]
    #: any value -> "Paris" whole and as a stream, where every count of tokens is that
    counted: Callable[[object], tuple[dict[str, Any], tuple[object, ...]]]
    #: a text -> the whole answer that has it as text, id and model
    worded: Callable[[str], dict[str, Any]]
    #: whole answers that are none of the vendor's
    nonsense: tuple[Answer, ...]
    #: what the headers of `sent` and `refused` call the call
    request_id: str | None
    #: counted where llmock answers
    reasoning_tokens: int | None
    price_provider: str
    sdk: ModuleType
    #: some of the variables that the SDK reads, to see that they are found
    sdk_reads: frozenset[str]
    #: an empty folder, the URL of a hostile server -> further variables, with values that would do harm
    hostile: Callable[[Path, str], Mapping[str, str]]
    #: stands in the log of a call
    logged: str
    #: whether the SDK refuses a whole answer for a count that is no whole number
    sdk_checks_counts: bool = False
    #: events that are none of the vendor's
    broken: tuple[object, ...] = ()
    #: status, the vendor's word, our kind
    statuses: tuple[tuple[int, str, str], ...] = ()
