"""What is wrong with an assertion in a suite, as a sentence, before anything is asked of a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llmswitch.assertions.base import Assertion, GradingError

__all__ = [
    "Check",
    "any_text",
    "category_scores",
    "count",
    "elements",
    "finish_reason",
    "given",
    "json_schema",
    "members",
    "numbers",
    "references",
    "rubric",
    "share",
    "sql",
    "text",
    "text_or_number",
    "texts",
    "threshold",
]

Check = Callable[[Assertion], str | None]

#: beyond it, a sum of weights may be infinite, and a score no number
_HEAVIEST = 1_000_000_000


def numbers(assertion: Assertion) -> str | None:
    """Of every assertion: threshold and weight."""
    for name, value in (("threshold", assertion.threshold), ("weight", assertion.weight)):
        if value is None and name == "threshold":
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return f"its {name} has to be a number."
    return None if 0 <= assertion.weight <= _HEAVIEST else f"its weight has to be a number from 0 to {_HEAVIEST:,}."


def threshold(assertion: Assertion) -> str | None:
    """There is one."""
    return "it needs a threshold." if assertion.threshold is None else None


def share(assertion: Assertion) -> str | None:
    """A threshold of a score that a judge gives."""
    value = assertion.threshold
    return (
        None
        if value is None or 0 <= value <= 1
        else "its threshold has to lie between 0 and 1, as the judge's score does."
    )


def given(assertion: Assertion) -> str | None:
    """Some value, an empty text too."""
    return "it needs a value." if assertion.value is None else None


def any_text(assertion: Assertion) -> str | None:
    """A text, an empty one too."""
    return None if isinstance(assertion.value, str) else "its value has to be a text."


def text(assertion: Assertion) -> str | None:
    """A text with something in it."""
    return (
        None
        if isinstance(assertion.value, str) and assertion.value
        else "its value has to be a text that is not empty."
    )


def text_or_number(assertion: Assertion) -> str | None:
    """A text with something in it, or a number."""
    value = assertion.value
    number = isinstance(value, int | float) and not isinstance(value, bool) and not _nan(value)
    return None if number else text(assertion) and "its value has to be a number, or a text that is not empty."


def _nan(value: float) -> bool:
    return isinstance(value, float) and math.isnan(value)


def texts(assertion: Assertion) -> str | None:
    """A list, or a comma-separated text."""
    from llmswitch.assertions.text import comma_separated

    value = assertion.value
    if isinstance(value, list) or (isinstance(value, str) and _template(value)):
        return None
    if isinstance(value, str) and value:
        return _raised(comma_separated, value)
    return "its value has to be a list, or texts with commas between."


def references(assertion: Assertion) -> str | None:
    """A text, or a list of texts."""
    value = assertion.value
    listed = value if isinstance(value, list) else [value]
    fine = listed and all(isinstance(one, str) for one in listed)
    return None if fine else "its value has to be a text, or a list of texts."


def rubric(assertion: Assertion) -> str | None:
    """A text or an object, unless the prompt for the judge says all."""
    value = assertion.value
    if value is None or value == "":
        return None if assertion.rubric_prompt else "it needs a value: what the answer has to be."
    return None if isinstance(value, str | dict | list) else "its value has to be a text or an object."


def category_scores(assertion: Assertion) -> str | None:
    """A text; and what its config says that a category scores, is a score."""
    from llmswitch.assertions.judgings import CATEGORY_NAMES
    from llmswitch.assertions.measures import number_of

    for name in CATEGORY_NAMES:
        given = assertion.config.get(name)
        score = number_of(given)
        if given is not None and (score is None or not 0 <= score <= 1):
            return f"{name} in its config has to be a number from 0 to 1."
    return any_text(assertion)


def json_schema(assertion: Assertion) -> str | None:
    """Nothing, or a JSON Schema as an object or as text."""
    from llmswitch.assertions.schema import schema_fault, schema_of

    if isinstance(assertion.value, str) and _template(assertion.value):
        return None
    try:
        schema = schema_of(assertion.value)
    except GradingError as error:
        return error.message
    return None if schema is None else schema_fault(schema)


def elements(assertion: Assertion) -> str | None:
    """Names of elements, or nothing."""
    from llmswitch.assertions.xml import elements_of

    return _raised(elements_of, assertion.value)


def sql(assertion: Assertion) -> str | None:
    """Nothing, or an object that names a known database."""
    from llmswitch.assertions.sql import DIALECTS

    value = assertion.value
    if value in (None, "", {}):
        return None
    if not isinstance(value, dict):
        return "its value has to be an object: databaseType, allowedTables, allowedColumns."
    for key in ("allowedTables", "allowedColumns"):
        if not isinstance(value.get(key, []), list):
            return f"its {key} has to be a list."
    # of an object, no template is filled in
    database = str(value.get("databaseType") or "MySQL")
    known = database.lower() in DIALECTS
    return None if known else f"there is no parser for the SQL of {database}. Known: {', '.join(DIALECTS)}."


def count(assertion: Assertion) -> str | None:
    """A number, or min and max."""
    from llmswitch.assertions.measures import number_of

    value = assertion.value
    if not isinstance(value, dict):
        fine = number_of(value) is not None or (isinstance(value, str) and _template(value))
        return None if fine else "its value has to be a number of words, or {min, max}."
    ends = [value[end] for end in ("min", "max") if value.get(end) is not None]
    found = [number_of(end) for end in ends]
    if not ends or None in found:
        return "its value has to have a number as min, as max, or both."
    low, high = found[0] or 0, found[-1] or 0
    return None if low <= high else f"its min {low:g} is above its max {high:g}."


def finish_reason(assertion: Assertion) -> str | None:
    """One that a call can end with."""
    from llmswitch.assertions.measures import FINISH_REASONS

    value = assertion.value
    if isinstance(value, str) and (_template(value) or value.lower() in FINISH_REASONS):
        return None
    return f"its value has to be one of {', '.join(FINISH_REASONS)}."


def members(assertion: Assertion) -> str | None:
    """Those of an assert-set are looked at one by one, by who reads them."""
    if any(member.type == assertion.type for member in assertion.members):
        return "an assert-set may not hold another one."
    return None


def _template(value: str) -> bool:
    """Whether it is only known once variables are in it."""
    return "{{" in value or "{%" in value


def _raised(function: Callable[[Any], object], value: Any) -> str | None:
    try:
        function(value)
    except GradingError as error:
        return error.message
    return None
