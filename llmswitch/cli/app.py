"""The command line: which subcommands there are, and how every failure ends.

A subcommand is one file beside this one, with a `typer.Typer` called `app`, and one line in `_COMMANDS`. Only
the one that was typed is imported.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, TextIO, cast

import typer
from typer.core import TyperGroup

from llmswitch import __version__
from llmswitch.errors import ConfigError, LLMSwitchError

__all__ = ["main"]

_COMMANDS = (
    "ask",
    "compare",
    "bench",
    "cost",
    "batch",
    "logs",
    "profiles",
    "providers",
    "doctor",
    "init",
    "pull",
    "cache",
)

_INTERRUPTED = 130
_PIPE_CLOSED = 141


class _ReaderLeftError(Exception):
    """stdout's reader closed the pipe. Typer would make exit code 1 of the BrokenPipeError itself."""


class _Group(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand that was typed."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderLeftError from error


app = typer.Typer(
    name="llmswitch",
    cls=_Group,
    no_args_is_help=True,
    help="Every LLM vendor behind one switch: ask one, compare several, bench them every night, know what each costs.",
    pretty_exceptions_enable=False,
)


def _print_version(value: bool) -> None:
    if value:
        print(f"llmswitch {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass


class _Commands(MutableMapping[str, Any]):
    """Typer's table of commands, filled in as they are asked for."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            if name not in _COMMANDS:
                raise KeyError(name)
            command = typer.main.get_command(import_module(f"llmswitch.cli.{name}").app)
            command.name = name
            self._loaded[name] = command
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


def main(arguments: list[str] | None = None) -> int:  # noqa: PLR0911  # one for each way to end
    """Run one command; returns the exit code of the contract. Nothing but a bug ends in a traceback."""
    argv = sys.argv[1:] if arguments is None else arguments
    _open_streams()
    group = cast(TyperGroup, typer.main.get_command(app))
    group.commands = _Commands()
    try:
        code = group.main(argv, prog_name="llmswitch", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except LLMSwitchError as error:
        return _fail(error, argv)
    except typer.TyperException as error:
        return _usage(error, argv)
    except (_ReaderLeftError, BrokenPipeError):
        return _pipe_closed()
    except (KeyboardInterrupt, typer.Abort):
        return _INTERRUPTED
    except SystemExit as error:  # rich's way to say that the reader of a help text left
        return _pipe_closed() if isinstance(error.__context__, BrokenPipeError) else _code(error)
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        return _fail(ConfigError(f"{named}{error.strerror or error}."), argv)
    except Exception as error:  # a bug: told as one, in one line
        return _bug(error, argv)


def _open_streams() -> None:
    """A closed stdout or stderr is one that nobody reads; what a stream cannot encode is replaced."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # for as long as the process lives
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        whole = _whole(stream)
        if whole is not stream:
            setattr(sys, name, whole)
            setattr(sys, f"__{name}__", whole)  # where shutil and rich ask for the terminal's size
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _whole(stream: TextIO) -> TextIO:
    """`stream` with a buffer, which PYTHONUNBUFFERED takes away: without one, what a full disk or pipe does not take
    at once is lost without a word. What must be seen at once is flushed."""
    if not isinstance(getattr(stream, "buffer", None), io.RawIOBase):
        return stream
    encoding, raw = stream.encoding, cast(io.TextIOWrapper, stream).detach()
    buffered = io.BufferedWriter(cast(io.RawIOBase, raw))
    return io.TextIOWrapper(buffered, encoding=encoding, errors="replace", line_buffering=True)


def _code(error: SystemExit) -> int:
    return error.code if isinstance(error.code, int) else 1


def _bug(error: Exception, argv: list[str]) -> int:
    """One line with the place; the whole traceback with --verbose."""
    import traceback

    if "-v" in argv or "--verbose" in argv:
        _complain(traceback.format_exc())
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    told = LLMSwitchError(f"a bug of llmswitch: {type(error).__name__} at {place}: {error}. --verbose shows more.")
    _fail(told, argv)
    return 1


def _complain(text: str) -> None:
    from llmswitch.cli.shell import complain

    complain(sys.stderr, text)


def _usage(error: typer.TyperException, argv: list[str]) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        _complain(error.format_message() + "\n")
        return error.exit_code
    command = getattr(getattr(error, "ctx", None), "command_path", "llmswitch")
    return _fail(ConfigError(f"{error.format_message().rstrip('.')}. Try '{command} --help'."), argv)


def _fail(error: LLMSwitchError, argv: list[str]) -> int:
    """What there is to say on stderr; with --json the error document on stdout."""
    from llmswitch.cli.shell import as_json, leave
    from llmswitch.text import one_line

    try:
        sys.stdout.flush()
        _complain(
            "".join(f"{one_line(line, 2000)}\n" for line in (f"llmswitch: error: {error.lines[0]}", *error.lines[1:]))
        )
        if "--json" in argv[: argv.index("--") if "--" in argv else None]:
            sys.stdout.write(as_json(error.as_dict()) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        return _pipe_closed()
    except OSError as full:
        _complain(f"llmswitch: error: cannot write to stdout: {full.strerror}\n")
        leave(sys.stdout)
    return error.exit_code


def _pipe_closed() -> int:
    """The reader went away: end quietly."""
    from llmswitch.cli.shell import leave

    leave(sys.stdout)
    return _PIPE_CLOSED
