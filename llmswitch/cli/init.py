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
from llmswitch.profiles import PROFILE_NAME, Entry, Settings, Source
from llmswitch.providers import find_vendor, vendor_names
from llmswitch.providers.base import Vendor, endpoint_url
from llmswitch.runs.ask import Services
from llmswitch.runs.call import standing_parameters
from llmswitch.targets import parse_target
from llmswitch.variables import variable

__all__ = ["app", "profile_text"]

app = typer.Typer(add_completion=False)

#: how often an unknown provider may be typed, and the most bytes that a key has
_TRIES = 3
_LONGEST_KEY = 10_000


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
    if model is not None and not model.strip():
        raise ConfigError("--model is empty: name a model, or leave it out.")
    interactive = shell.stdin is not None and shell.stdin.isatty() and not key_stdin
    chosen = _provider(provider, settings, interactive)
    vendor = find_vendor(chosen, settings)
    wanted = {"LLM_PROVIDER": chosen, **given}
    if model:
        _check_literal("--model", model)
        wanted[vendor.model_variable or "LLM_PROVIDER"] = model if vendor.model_variable else f"{chosen}:{model}"
    if key_stdin:
        wanted[_key_variable(vendor)] = _key_from_stdin(shell)
    elif interactive:
        wanted.update(_answers(vendor, settings, wanted))
    _refer_to_environment(vendor, settings, wanted)
    text = profile_text(wanted)
    _check(shell, settings, wanted)
    try:
        write_private(path, text)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}.") from error
    shell.note(f'wrote {path}. Ask with: llmswitch ask -P {name} "…"')


def _provider(given: str | None, settings: Settings, interactive: bool) -> str:
    names = vendor_names(settings)
    if given is not None:
        return find_vendor(given.lower(), settings).key
    if not interactive:
        raise ConfigError(f"no provider: name one with --provider, one of {', '.join(names)}.")
    for _ in range(_TRIES - 1):
        try:
            return _asked_provider(names, settings)
        except ConfigError as error:
            typer.echo(error.message, err=True)
    return _asked_provider(names, settings)


def _asked_provider(names: tuple[str, ...], settings: Settings) -> str:
    answer = _prompt(f"Provider ({', '.join(names)})", default=names[0])
    return find_vendor(answer.lower(), settings).key


def _prompt(text: str, *, default: str = "", hidden: bool = False) -> str:
    """What a person types, without the blanks around it; raises ConfigError for bytes that are no text."""
    try:
        answer: str = typer.prompt(text, default=default, hide_input=hidden, show_default=bool(default), err=True)
    except UnicodeDecodeError as error:
        raise ConfigError("what was typed holds bytes that are not UTF-8 text.") from error
    _check_utf8("what was typed", answer)
    return answer.strip()


def _key_from_stdin(shell: Shell) -> str:
    if shell.stdin is None:
        raise ConfigError("--key-stdin: there is no standard input to read the key from.")
    try:
        key = shell.stdin.buffer.readline(_LONGEST_KEY).decode().strip()
    except UnicodeDecodeError as error:
        raise ConfigError("--key-stdin: standard input is not UTF-8 text.") from error
    if not key:
        raise ConfigError("--key-stdin: standard input is empty; pipe the key in.")
    _check_literal("--key-stdin", key)
    return key


def _check_literal(where: str, value: str) -> None:
    """dotenv has no way to write a `${` that stays one; the value, which may be a key, is not shown."""
    if "${" in value:
        raise ConfigError(f"{where} holds '${{', which a profile would expand; a reference is given with --set.")


def _check_utf8(where: str, value: str) -> None:
    """A byte that is no text comes in as half a character, which no file can hold."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{where} holds bytes that are not UTF-8 text.") from error


def _check(shell: Shell, settings: Settings, wanted: dict[str, str]) -> None:
    """Raise the ConfigError that the first call with this profile would.

    What the environment may still provide counts as there: a key, an address, and whatever a `${…}` refers to.
    """
    own = {name: Entry(value.strip()) for name, value in wanted.items() if "${" not in value}
    written = Settings((Source("the profile", own),), profile=None, paths=settings.paths, warn=shell.warn)
    for name in own:
        row = variable(name)
        if row is not None and row.secret:
            written.secret(name)
        if name.endswith(("_BASE_URL", "_ENDPOINT")):
            endpoint_url(written, name, "")
    standing_parameters(written)
    Services.from_settings(written, warn=shell.warn, clock=shell.clock, wall=shell.wall)
    if "LLM_PROVIDER" not in own:
        return
    both = Settings((*written.sources, *settings.sources), profile=None, paths=settings.paths, warn=shell.warn)
    vendor = find_vendor(parse_target(own["LLM_PROVIDER"].value, "LLM_PROVIDER").provider, both)
    absent = {name: row for name in vendor.asks if name not in own and (row := variable(name))}
    stand_ins = {name: Entry("https://unset.invalid") for name, row in absent.items() if row.decides_host}
    stand_ins |= {name: Entry("unset") for name, row in absent.items() if row.secret}
    sources = (*written.sources, Source("the environment", stand_ins))
    vendor.configure(Settings(sources, profile=None, paths=settings.paths, warn=shell.warn))


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
        text = _prompt(f"{name}{hint}", hidden=row.secret)
        if text:
            _check_literal(name, text)
            answers[name] = text
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
        _check_utf8(name, value)
        plain = re.fullmatch(r"[A-Za-z0-9_./:@%+,?=&${}-]*", value)
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"{name}={value}" if plain else f"{name}='{escaped}'")
    text = "\n".join(lines) + "\n"
    if {b.key: b.value for b in parse_stream(io.StringIO(text)) if b.key} != values:
        raise ConfigError("a value holds what a profile cannot: a line break or a control character.")
    return text
