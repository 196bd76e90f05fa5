"""`llmswitch logs`: the conversations that were kept, and forgetting them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmswitch.cli.options import Json, Quiet, Verbose
from llmswitch.cli.shell import Shell
from llmswitch.cli.times import duration_s, local
from llmswitch.conversations import Conversation, Conversations, Turn
from llmswitch.documents import cost_document
from llmswitch.paths import Paths
from llmswitch.reports.rows import UNKNOWN, Column, Table, count, money, seconds
from llmswitch.text import one_line

__all__ = ["app"]

_OPENING = 60

app = typer.Typer(
    help="Conversations that were kept: list them, read one, forget old ones.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command("list")
def _list(
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1_000_000, help="How many, newest first.")] = 20,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """The conversations spoken in last; 'ask --conversation ID' goes on with one."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    found = _conversations(shell).list(limit)
    if json:
        rows = [
            {
                "id": row.id,
                "started_at": _time(row.started_at),
                "updated_at": _time(row.updated_at),
                "turns": row.turns,
                "target": row.target,
                "prompt": row.prompt,
            }
            for row in found
        ]
        shell.json({"schema": "llmswitch/conversations/1", "conversations": rows})
    elif found:
        columns = (Column("id"), Column("last"), Column("turns", number=True), Column("target"), Column("prompt"))
        cells = (
            (row.id, _minute(row.updated_at), count(row.turns), row.target, one_line(row.prompt, _OPENING))
            for row in found
        )
        shell.table(Table(columns, tuple(cells)))
    else:
        shell.note("no conversations yet: each 'llmswitch ask' starts one, unless LLM_HISTORY is off.")


@app.command("show")
def _show(
    conversation: Annotated[str, typer.Argument(metavar="ID", help="An id, or as much of it as is unique.")],
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """One whole conversation."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    found = _conversations(shell).load(conversation)
    if json:
        shell.json(_document(found))
        return
    system = None
    for turn in found.turns:
        if turn.system != system:
            shell.line(f"## System\n\n{turn.system or '(none)'}\n")
            system = turn.system
        shell.line(f"## You, {_minute(turn.at)}\n\n{turn.prompt.text}\n")
        for file in turn.prompt.attachments:
            shell.line(f"[{one_line(file.name) or 'attachment'}: {file.media_type}, {count(len(file.data))} bytes]\n")
        shell.line(f"## {one_line(turn.target)}{_figures(turn)}\n\n{turn.answer}\n")


@app.command("prune")
def _prune(
    older_than: Annotated[str, typer.Option("--older-than", metavar="TIME", help="Silent for 30m, 12h, 90d, 8w.")],
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Forget old conversations for good, their attachments too. What they cost stays in the ledger."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    age_s = duration_s(older_than, "--older-than")
    number = _conversations(shell).prune(age_s, shell.wall())
    shell.line(f"{count(number)} conversation{'' if number == 1 else 's'} forgotten.")


def _conversations(shell: Shell) -> Conversations:
    return Conversations(Paths.from_environment(shell.environ).ledger)


def _time(epoch_s: float) -> str | None:
    moment = local(epoch_s)
    return moment.isoformat(timespec="seconds") if moment else None


def _minute(epoch_s: float) -> str:
    moment = local(epoch_s)
    return moment.strftime("%Y-%m-%d %H:%M") if moment else UNKNOWN


def _figures(turn: Turn) -> str:
    call = turn.call
    if call is None:
        return ""
    cost = money(call.cost.amount, exact=call.cost.exact) if call.cost else money(None)
    tokens = f"{count(call.usage.input_tokens)} → {count(call.usage.output_tokens)} tokens"
    how = "cached" if call.cached else f"{tokens}, {cost}"
    return f" ({one_line(call.request_model or call.provider)}, {how}, {seconds(call.duration_s)})"


def _document(conversation: Conversation) -> dict[str, Any]:
    turns = []
    for turn in conversation.turns:
        files = [{"name": f.name, "media_type": f.media_type, "bytes": len(f.data)} for f in turn.prompt.attachments]
        turns.append(
            {
                "at": _time(turn.at),
                "target": turn.target,
                "system": turn.system,
                "prompt": turn.prompt.text,
                "attachments": files,
                "answer": turn.answer,
                "call": _call(turn),
            }
        )
    return {"schema": "llmswitch/conversation/1", "id": conversation.id, "turns": turns}


def _call(turn: Turn) -> dict[str, Any] | None:
    call = turn.call
    if call is None:
        return None
    return {
        "provider": call.provider,
        "request_model": call.request_model,
        "usage": {"input_tokens": call.usage.input_tokens, "output_tokens": call.usage.output_tokens},
        "cost": cost_document(call.cost),
        "duration_s": call.duration_s,
        "cached": call.cached,
    }
