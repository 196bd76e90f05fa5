"""The jobs of `BatchVendors`: what was sent, how far a job is, and what came of each of its requests."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

__all__ = ["BatchBehaviour", "Failing", "Job", "Outcome", "Result", "answer_to", "prompt_of", "tokens"]

Outcome = Literal["running", "cancelling", "completed", "expired", "cancelled", "failed"]


class Failing(NamedTuple):
    """How a request of a job fails: the HTTP status that a live call would have had, the vendor's code, its words."""

    status: int = 400
    code: str = "invalid_request_error"
    message: str = "no luck"


_BAD_REQUEST = Failing()


@dataclass(frozen=True, slots=True)
class BatchBehaviour:
    """What becomes of a job. A job ends at the look of number `looks`, or `seconds` after it was made where that is
    set. Of an expired and a cancelled one the part `answered` was answered before, from its beginning.
    """

    looks: int = 1
    seconds: float | None = None
    never_ends: bool = False
    #: None: as the vendor does it, where Gemini alone keeps the order
    shuffled: bool | None = None
    #: the last of every so many requests fails; 0 is none
    fails_each: int = 0
    failing: Failing = _BAD_REQUEST
    expires: bool = False
    answered: float = 0.5
    #: the first result stands in the file once more, at its end
    duplicate: bool = False
    #: the file of results ends after half: within a line, between two, or as the connection breaks
    cut: Literal["line", "between", "transfer"] | None = None
    #: the job is not known any more
    forgets: bool = False
    #: the vendor's words on why the job failed before it began
    invalid: str | None = None
    #: a job is made, and the connection closed without an answer
    drops_create: bool = False
    #: seconds between a job's being made and the answer to who made it
    create_s: float = 0.0
    #: the status with which jobs are refused
    refuses: int | None = None
    #: seconds of silence in the middle of the results
    results_s: float = 0.0
    #: looks at a file that was sent up before it is `processed` (Azure)
    file_looks: int = 0
    #: characters that each answer is made longer by
    padding: int = 0


def answer_to(prompt: str) -> str:
    """What every model says."""
    return f"answer to: {prompt}"


def tokens(prompt: str) -> tuple[int, int]:
    """Input and output tokens of a request, for batches and live calls alike."""
    return len(prompt) // 4 + 1, len(answer_to(prompt)) // 4 + 1


def prompt_of(body: Mapping[str, Any]) -> str:
    """The text of a request's last message, in the vendors' forms."""
    last = body["messages"][-1]["content"] if "messages" in body else body["contents"][-1]["parts"]
    return last if isinstance(last, str) else "".join(part.get("text", "") for part in last)


class Result(NamedTuple):
    """What came of one request."""

    custom_id: str
    prompt: str
    kind: Literal["answered", "failed", "expired", "cancelled"]


@dataclass(slots=True)
class Job:
    """One job as it was made: `ours` is the id that it was given, None where the vendor takes none; `requests` are its
    custom ids with their prompts, `headers` those of the request that made it. `created` is in epoch seconds.
    """

    vendor: Literal["openai", "azure", "anthropic", "gemini"]
    id: str
    model: str
    ours: str | None
    requests: list[tuple[str, str]]
    headers: Mapping[str, str]
    behave: Callable[[], BatchBehaviour]
    input_file: str = ""
    created: float = field(default_factory=time.time)
    looks: int = 0
    cancelling: bool = False
    outcome: Outcome = "running"
    ended: float | None = None

    @property
    def lines(self) -> int:
        """How many requests it has."""
        return len(self.requests)

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self.outcome not in ("running", "cancelling")

    def look(self) -> None:
        """Somebody asks how it is."""
        self.looks += 1
        behaviour = self.behave()
        due = self.looks >= behaviour.looks
        if behaviour.seconds is not None:
            due = time.time() - self.created >= behaviour.seconds
        if self.over:
            return
        if behaviour.invalid is not None:
            self._end("failed")
        elif self.cancelling:
            self._end("cancelled")
        elif due and not behaviour.never_ends:
            self._end("expired" if behaviour.expires else "completed")

    def cancel(self) -> None:
        """Its end at the next look."""
        if not self.over:
            self.cancelling, self.outcome = True, "cancelling"

    def _end(self, outcome: Outcome) -> None:
        self.outcome, self.ended = outcome, time.time()

    def results(self) -> list[Result]:
        """What came of every request, in the order of the vendor's file; nothing before the end."""
        behaviour = self.behave()
        if not self.over or self.outcome == "failed":
            return []
        whole = self.lines if self.outcome == "completed" else int(self.lines * behaviour.answered)
        found = [
            Result(custom_id, prompt, self._kind(place, whole, behaviour))
            for place, (custom_id, prompt) in enumerate(self.requests)
        ]
        if self.vendor != "gemini" if behaviour.shuffled is None else behaviour.shuffled:
            random.Random(self.id).shuffle(found)  # noqa: S311  # an order, and no secret
        if behaviour.duplicate:
            answered = [result for result in found if result.kind == "answered"]
            found += answered[:1]
        return found

    def _kind(
        self, place: int, whole: int, behaviour: BatchBehaviour
    ) -> Literal["answered", "failed", "expired", "cancelled"]:
        if place >= whole:
            return "expired" if self.outcome == "expired" else "cancelled"
        return "failed" if behaviour.fails_each and (place + 1) % behaviour.fails_each == 0 else "answered"

    def counts(self) -> dict[str, int]:
        """How many requests came to what."""
        found = dict.fromkeys(("answered", "failed", "expired", "cancelled"), 0)
        for result in self.results():
            found[result.kind] += 1
        if self.behave().duplicate and found["answered"]:
            found["answered"] -= 1
        return found
