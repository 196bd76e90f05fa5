"""What is asked, read off the command line: the same for every command that asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmswitch.cli.inputs import Inputs, read_bounded
from llmswitch.cli.shell import Shell
from llmswitch.errors import ConfigError
from llmswitch.targets import parse_parameter
from llmswitch.types import Message, Parameters

__all__ = ["read_message", "read_parameters", "read_schema"]


def read_message(
    shell: Shell, *, prompt: str | None, file: str | None, attachments: tuple[str, ...], no_stdin: bool
) -> Message:
    """The prompt from argument, file and stdin with what is attached; ConfigError where there is none."""
    inputs = Inputs(shell, no_stdin=no_stdin)
    found, texts = inputs.attachments(list(attachments))
    text = inputs.prompt(prompt, file)
    return Message("user", f"{texts}\n\n{text}" if texts else text, found)


def read_parameters(*, max_tokens: str | None, temperature: str | None) -> Parameters:
    """The parameters given by flag; ConfigError names the flag."""
    given = {"max_tokens": max_tokens, "temperature": temperature}
    values = {
        name: parse_parameter(name, text, f"--{name.replace('_', '-')}")
        for name, text in given.items()
        if text is not None
    }
    return Parameters(**values)


def read_schema(name: str | None) -> dict[str, Any] | None:
    """The JSON Schema in a file; ConfigError says what is wrong with it."""
    if name is None:
        return None
    from llmswitch.layers.schema import check_schema

    if not name:
        raise ConfigError("--schema names no file.")
    data = read_bounded(Path(name), 1_000_000)
    try:
        schema = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--schema {name} is not JSON: {error}.") from error
    return dict(check_schema(schema, f"--schema {name}"))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
