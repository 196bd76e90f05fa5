"""An answer that was asked for in a schema is checked against it, whatever the vendor promised."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from llmswitch.errors import ConfigError, LLMSwitchError, MalformedError
from llmswitch.layers.base import Layer, opened, unseen
from llmswitch.text import one_line
from llmswitch.types import Chunk, Request, Response

__all__ = ["SchemaLayer", "check_schema"]


def check_schema(schema: Any, where: str) -> Mapping[str, Any]:
    """`schema` if it is a JSON Schema for an object; ConfigError names `where` it came from otherwise."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    if not isinstance(schema, dict):
        raise ConfigError(f"{where} must hold a JSON Schema: an object, not {type(schema).__name__}.")
    if not isinstance(schema.get("$schema", ""), str):
        raise ConfigError(f"{where} is no JSON Schema: its $schema is not a text.")
    try:
        validator_for(schema).check_schema(schema)
    except RecursionError as error:
        raise ConfigError(f"{where} is nested too deeply for a JSON Schema.") from error
    except SchemaError as error:
        raise ConfigError(f"{where} is no JSON Schema: {one_line(error.message)} at {error.json_path}.") from error
    return schema


class SchemaLayer(Layer):
    """Raises MalformedError where the whole answer is not JSON or does not match the request's schema.

    An answer that is refused was paid for all the same: it goes into `Trace.lost`.
    """

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The same stream; the check comes before its last chunk."""
        async with opened(self.inner.stream(request)) as chunks:
            async for chunk in chunks:
                if chunk.response is not None and request.schema is not None:
                    try:
                        _validate(chunk.response, request.schema)
                    except LLMSwitchError as error:
                        request.trace.lost.append(unseen(chunk.response, error.kind))
                        raise
                yield chunk


def _validate(response: Response, schema: Mapping[str, Any]) -> None:
    from jsonschema.exceptions import best_match
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        answer = json.loads(response.text)
        # A registry of its own: without one, jsonschema fetches a remote $ref over the network.
        found = best_match(validator_for(schema)(schema, registry=Registry()).iter_errors(answer))
        problem = f"{found.message} at {found.json_path}" if found is not None else None
    except (ValueError, RecursionError) as error:
        problem = f"it is not JSON ({error})"
    except Unresolvable as error:
        raise ConfigError(f"--schema refers to {one_line(str(error.ref))}, which is not in that file.") from error
    if problem is not None:
        cut = " It was cut at max_tokens." if response.finish_reason == "length" else ""
        raise MalformedError(
            f"the answer does not match the schema: {one_line(problem, 300)}.{cut}",
            provider=response.provider,
            request_model=response.request_model,
            request_id=response.request_id,
        )
