"""JSON Schemas as promptfoo's validator takes them: where a schema names no draft, keywords of drafts 7 and 2020-12."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from llmswitch.assertions.base import GradingError
from llmswitch.assertions.formats import checker
from llmswitch.assertions.lenient import load_yaml
from llmswitch.text import encodable, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

__all__ = ["problem", "schema_fault", "schema_of"]


def schema_of(value: Any) -> Any:
    """The schema in an assertion's value: an object, or YAML (and so JSON) of one; None where none is given."""
    if isinstance(value, str) and value:
        value = load_yaml(value)
        if not isinstance(value, dict | bool):
            raise GradingError("its value is no JSON Schema: neither an object nor YAML of one.")
    elif value is not None and not isinstance(value, dict):
        raise GradingError("its value is no JSON Schema: an object is needed.")
    return None if value == "" else value


def schema_fault(schema: Any) -> str | None:
    """Why `schema` is none, as a sentence."""
    from jsonschema import Draft7Validator, Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    if isinstance(schema, dict) and not isinstance(schema.get("$schema", ""), str):
        return "its JSON Schema has a $schema that is no text."
    named = validator_for(schema, default=None)  # type: ignore[arg-type]  # None: the schema names no draft
    try:
        try:
            (named or Draft202012Validator).check_schema(schema)
        except SchemaError:
            if named is not None:
                raise
            Draft7Validator.check_schema(schema)
    except SchemaError as error:
        return f"its value is no JSON Schema: {one_line(error.message, 200)} at {error.json_path}."
    except RecursionError:
        return "its JSON Schema is nested too deeply."
    return None


def problem(schema: Any, value: Any) -> str | None:
    """Why `value` does not match, None where it does. Raises GradingError for a $ref to what is not in the schema."""
    from jsonschema.exceptions import best_match
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    validator = validator_for(schema, default=_both_drafts())
    try:
        # A registry of its own: without one, jsonschema fetches a remote $ref over the network.
        errors = validator(schema, registry=Registry(), format_checker=checker()).iter_errors(value)
        found = best_match(errors)
    except Unresolvable as error:
        raise GradingError(f"its JSON Schema refers to {one_line(str(error.ref))}, which is not in it.") from error
    return None if found is None else f"{one_line(found.message, 200)} at {one_line(found.json_path, 100)}"


def _matches(source: str, text: str) -> bool:
    """A regular expression of a schema is JavaScript's, with the flag u."""
    from regress import Regex

    return Regex(encodable(source), "u").find(encodable(text)) is not None


@cache
def _both_drafts() -> type[Validator]:
    from jsonschema import Draft7Validator, Draft202012Validator, ValidationError
    from jsonschema.validators import extend

    older, newer = Draft7Validator.VALIDATORS, Draft202012Validator.VALIDATORS

    def items(validator: Validator, items: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        keyword = (older if isinstance(items, list) else newer)["items"]
        yield from keyword(validator, items, instance, schema) or ()

    def pattern(validator: Validator, source: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not _matches(source, instance):
            yield ValidationError(f"{instance!r} does not match {source!r}")

    def pattern_properties(validator: Validator, rules: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        for source, inner in rules.items() if isinstance(instance, dict) else ():
            for key in instance:
                if _matches(source, key):
                    yield from validator.evolve(schema=inner).iter_errors(instance[key])

    only_older = {name: check for name, check in older.items() if name not in newer}
    both: type[Validator] = extend(
        Draft202012Validator,
        {**only_older, "items": items, "pattern": pattern, "patternProperties": pattern_properties},
    )  # type: ignore[no-untyped-call]  # its own
    return both
