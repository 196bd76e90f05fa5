"""Assertions on JSON in an answer."""

from __future__ import annotations

from llmswitch.assertions.base import Answer, Assertion
from llmswitch.assertions.findings import Finding, yes_or_no
from llmswitch.assertions.js import parse
from llmswitch.assertions.lenient import json_objects
from llmswitch.assertions.schema import problem, schema_of
from llmswitch.text import one_line

__all__ = ["contains_json", "is_json"]


def is_json(assertion: Assertion, answer: Answer) -> Finding:
    """The whole answer is JSON and matches the schema; under not-, JSON that does not match passes as well."""
    schema = schema_of(assertion.value)
    try:
        value = parse(answer.text)
    except (ValueError, RecursionError) as error:
        return yes_or_no(assertion, False, f"it is no JSON: {one_line(str(error), 120)}")
    wrong = None if schema is None else problem(schema, value)
    return yes_or_no(assertion, wrong is None, f"it does not match the schema: {wrong}" if wrong else "it is JSON")


def contains_json(assertion: Assertion, answer: Answer) -> Finding:
    """Some `{…}` in the answer is JSON, read leniently, and matches the schema."""
    schema = schema_of(assertion.value)
    wrong = "it contains no JSON object"
    for found in json_objects(answer.text):
        reason = None if schema is None else problem(schema, found)
        if reason is None:
            return yes_or_no(
                assertion, True, "it contains a JSON object" + (" that matches the schema" if schema else "")
            )
        wrong = f"its JSON does not match the schema: {reason}"
    return yes_or_no(assertion, False, wrong)
