"""A sample's row, from the plan of its call to the answer or the error that ended it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from llmswitch.documents import cost_document, usage_document
from llmswitch.errors import LLMSwitchError
from llmswitch.runs.bench.model import SampleRow
from llmswitch.runs.bench.plan import Planned
from llmswitch.types import Response

__all__ = ["answered_row", "blank_row", "failed_row"]


def blank_row(planned: Planned, label: str) -> SampleRow:
    """What is known of a sample before it is asked."""
    case = planned.case
    system = "" if case.system is None else f"{case.system}\0"
    return SampleRow(
        case=case.id,
        target=label,
        repeat=planned.repeat,
        prompt=case.prompt,
        prompt_sha256=hashlib.sha256(f"{system}{case.prompt}".encode("utf-8", "backslashreplace")).hexdigest(),
        vars=dict(case.vars),
        description=case.description,
        tasks=case.tasks,
    )


def answered_row(row: SampleRow, response: Response) -> SampleRow:
    """The row of a whole answer, not graded yet."""
    return replace(
        row,
        text=response.text,
        finish_reason=response.finish_reason,
        usage={**usage_document(response.usage), "estimated": response.usage.estimated},
        cost=cost_document(response.cost),
        time_to_first_token_s=response.timing.time_to_first_token_s,
        itl_s=response.itl_s,
        output_tokens_per_s=response.output_tokens_per_s,
        duration_s=response.duration_s,
        requests=len(response.attempts),
        response_model=response.response_model,
    )


def failed_row(row: SampleRow, error: LLMSwitchError, duration_s: float) -> SampleRow:
    """The row of a call that gave no answer."""
    return replace(row, error=error.as_dict()["error"], duration_s=duration_s, requests=len(error.attempts))
