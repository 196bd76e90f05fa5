"""`llmswitch init`: write a profile of the user's own, from questions on a terminal or from flags."""

from __future__ import annotations

import io
import re
from typing import Annotated

import typer

from llmswitch.cli.options import Quiet, Verbose
from llmswitch.cli.shell import Shell
from llmswitch.errors import ConfigError, StorageError
from llmswitch.paths import write_private
from llmswitch.profiles import PROFILE_NAME, Settings
from llmswitch.providers import find_vendor, vendor_names
from llmswitch.providers.base import Vendor
from llmswitch.variables import variable

__all__ = ["app", "profile_text"]

app = typer.Typer(add_completion=False)


@app.command()
def init(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="What the profile is called.")] = "default",
    provider: Annotated[str | None, typer.Option("--provider", "-p", help="Whom it asks.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Which model.")] = None,
    values: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A variable; may be given again.")
    ] = None,
    key_stdin: Annotated[bool, typer.Option("--key-stdin", help="Read the provider's key from stdin.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a profile of that name.")] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Write a profile: readable by you alone, and trusted as your own."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    if not PROFILE_NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is not a profile's name: use letters, digits, '.', '_' and '-'.")
    given = _given(values or [])
    settings = shell.settings(flags={variable_: ("--set", value) for variable_, value in given.items()})
    path = settings.paths.profiles / f"{name}.env"
    if path.exists() and not force:
        raise ConfigError(f"the profile {path} exists: give another name, or --force to replace it.")
    interactive = shell.stdin is not None and shell.stdin.isatty() and not key_stdin
    chosen = _provider(provider, settings, interactive)
    vendor = find_vendor(chosen, settings)
    wanted = {"LLM_PROVIDER": chosen, **given}
    if model:
        wanted[vendor.model_variable or "LLM_PROVIDER"] = model if vendor.model_variable else f"{chosen}:{model}"
    if key_stdin:
        wanted[_key_variable(vendor)] = shell.stdin.readline().strip()
    elif interactive:
        wanted.update(_answers(vendor, settings, wanted))
    _refer_to_environment(vendor, settings, wanted)
    try:
        write_private(path, profile_text(wanted))
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}.") from error
    shell.note(f'wrote {path}. Ask with: llmswitch ask -P {name} "…"')


def _provider(given: str | None, settings: Settings, interactive: bool) -> str:
    names = vendor_names(settings)
    if given is not None:
        return find_vendor(given.lower(), settings).key
    if not interactive:
        raise ConfigError(f"no provider: name one with --provider, one of {', '.join(names)}.")
    answer: str = typer.prompt(f"Provider ({', '.join(names)})", default=names[0], err=True)
    return find_vendor(answer.strip().lower(), settings).key


def _given(pairs: list[str]) -> dict[str, str]:
    values = {}
    for pair in pairs:
        name, mark, value = pair.partition("=")
        if not mark or variable(name) is None:
            raise ConfigError(f"--set {name}: give NAME=VALUE with a variable that profiles know.")
        values[name] = value
    return values


def _key_variable(vendor: Vendor) -> str:
    for name in vendor.asks:
        row = variable(name)
        if row is not None and row.secret:
            return name
    raise ConfigError(f"{vendor.key} takes no key: leave --key-stdin out.")


def _answers(vendor: Vendor, settings: Settings, known: dict[str, str]) -> dict[str, str]:
    """What a person answers to one question a variable; an empty answer sets nothing."""
    answers = {}
    for name in vendor.asks:
        row = variable(name)
        if name in known or row is None:
            continue
        hint = " (Enter: take it from the environment)" if settings.find(name) else " (Enter: leave it out)"
        text: str = typer.prompt(f"{name}{hint}", default="", hide_input=row.secret, show_default=False, err=True)
        if text.strip():
            answers[name] = text.strip()
    return answers


def _refer_to_environment(vendor: Vendor, settings: Settings, wanted: dict[str, str]) -> None:
    """A secret the environment has and nobody gave is referred to, so that no copy of it lies on the disk."""
    for name in vendor.asks:
        row, found = variable(name), settings.find(name)
        if row is not None and row.secret and name not in wanted and found is not None and found.source.file is None:
            wanted[name] = f"${{{found.name}}}"


def profile_text(values: dict[str, str]) -> str:
    """`values` as a dotenv file that reads back as the same; ConfigError for a value that cannot be written."""
    from dotenv.parser import parse_stream

    lines = []
    for name, value in values.items():
        plain = re.fullmatch(r"[A-Za-z0-9_./:@%+,?=&${}-]*", value)
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"{name}={value}" if plain else f"{name}='{escaped}'")
    text = "\n".join(lines) + "\n"
    if {b.key: b.value for b in parse_stream(io.StringIO(text)) if b.key} != values:
        raise ConfigError("a value holds what a profile cannot: a line break or a control character.")
    return text
