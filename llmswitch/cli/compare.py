"""`llmswitch compare`: the same prompt, side by side across vendors."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from llmswitch.cli.keys import warn_about_keys
from llmswitch.cli.options import (
    AllowUnknownPrice,
    Attached,
    DryRun,
    Fallback,
    Json,
    MaxCost,
    MaxRetries,
    MaxTokens,
    NoCache,
    NoStdin,
    Profile,
    Prompt,
    PromptFile,
    Quiet,
    Refresh,
    Schema,
    System,
    Temperature,
    Timeout,
    TrustProfile,
    Verbose,
    switch_flags,
)
from llmswitch.cli.output import OutputFile
from llmswitch.cli.question import read_message, read_parameters, read_schema
from llmswitch.cli.shell import Shell
from llmswitch.errors import BudgetError, ConfigError, StorageError
from llmswitch.reports.answer import preview_document
from llmswitch.reports.sections import Sections, sections
from llmswitch.runs.ask import Services
from llmswitch.runs.call import Call, Question, settle
from llmswitch.runs.compare import Comparison, Job, settle_calls
from llmswitch.runs.judge import Asked
from llmswitch.runs.policy import read_policy
from llmswitch.runs.route import spares
from llmswitch.targets import integer, parse_target

if TYPE_CHECKING:
    from llmswitch.profiles import Settings

__all__ = ["app"]

app = typer.Typer(add_completion=False)

_MOST_REPEATS = 10_000


class _Asked(NamedTuple):
    """The command line as it was typed, what is asked left out."""

    targets: tuple[str, ...]
    repeats: int
    seed: int
    judge: str | None
    diff: bool
    strict: bool
    dry_run: bool
    #: what is printed: None is the answers and tables for eyes
    form: str | None
    html: str | None


@app.command()
def compare(
    prompt: Prompt = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target", "-t", help="provider[:model][?temperature=0&…]; repeatable; without it, every configured one."
        ),
    ] = None,
    profile: Profile = None,
    system: System = None,
    attachment: Attached = None,
    file: PromptFile = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    schema: Schema = None,
    repeats: Annotated[
        str, typer.Option("--repeats", metavar="N", help="Ask each target N times, one call at a time, uncached.")
    ] = "1",
    seed: Annotated[
        str | None, typer.Option("--seed", metavar="N", help="Repeat the random order of --repeats.")
    ] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show how each answer differs from the first, by word.")] = False,
    judge: Annotated[
        str | None,
        typer.Option("--judge", metavar="TARGET", help="Have a model rank the answers, blind, in two orders."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if any target failed, not only if all did.")] = False,
    no_cache: NoCache = False,
    refresh: Refresh = False,
    timeout: Timeout = None,
    fallback: Fallback = None,
    max_retries: MaxRetries = None,
    max_cost: MaxCost = None,
    allow_unknown_price: AllowUnknownPrice = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one row for each call.")] = False,
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Write a page that needs no network as well.")
    ] = None,
    no_stdin: NoStdin = False,
    trust_profile: TrustProfile = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Ask every target the same and show answers, latency, tokens and cost side by side."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    forms = [name for name, given in (("json", as_json), ("markdown", markdown), ("csv", as_csv)) if given]
    if len(forms) > 1:
        raise ConfigError(f"give one of {', '.join(f'--{form}' for form in forms)}: stdout holds one of them.")
    if as_csv and html is None and (diff or judge is not None):
        raise ConfigError("--csv has no place for --diff and --judge: add --html FILE, or give --json or --markdown.")
    asked = _Asked(
        targets=tuple(target or ()),
        repeats=integer(repeats, "--repeats", 1, _MOST_REPEATS),
        seed=secrets.randbits(32) if seed is None else integer(seed, "--seed", 0),
        judge=judge,
        diff=diff,
        strict=strict,
        dry_run=dry_run,
        form=forms[0] if forms else None,
        html=html,
    )
    # a row is its target's own answer: a profile's fallbacks and balance are for calls that nobody compares
    flags = {
        **switch_flags(timeout=timeout, max_retries=max_retries),
        "LLM_FALLBACK": ("--fallback", fallback or "none"),
        "LLM_BALANCE": ("compare", "none"),
    }
    settings = shell.settings(profile=profile, flags=flags, trust_profile=trust_profile)
    policy = read_policy(settings, max_cost=max_cost, allow_unknown_price=allow_unknown_price)
    services = Services.from_settings(
        settings,
        use_cache=not no_cache,
        refresh=refresh,
        policy=policy,
        warn=shell.warn,
        clock=shell.clock,
        wall=shell.wall,
    )
    question = Question(
        messages=(
            read_message(shell, prompt=prompt, file=file, attachments=tuple(attachment or ()), no_stdin=no_stdin),
        ),
        system=system,
        parameters=read_parameters(max_tokens=max_tokens, temperature=temperature),
        schema=read_schema(schema),
        restarts=True,
        bounded=policy.budgeted,
    )
    _run(shell, settings, services, question, asked)


def _run(shell: Shell, settings: Settings, services: Services, question: Question, asked: _Asked) -> None:
    calls = settle_calls(settings, question, asked.targets, shell.warn)
    judge = _judge(settings, asked.judge, question, calls, shell)
    warn_about_keys(shell, settings)
    if asked.dry_run:
        _preview(shell, settings, services, calls, asked)
        return
    if len(calls) == 1 and asked.repeats == 1:
        shell.note(f"{calls[0].target.text} is the only target: name others with -t to compare it with.")
    if asked.html in ("", "-"):
        raise ConfigError("--html names no file: stdout is for the answers, so give the page a name.")
    page = OutputFile(Path(asked.html)) if asked.html is not None else None
    try:
        from llmswitch.cli.columns import run_compare

        about = Asked(question.messages[0].text, question.system or settings.get("LLM_SYSTEM"))
        others = (call._replace(command="compare") for call in spares(settings, services.policy, question))
        job = Job(about, calls, asked.repeats, asked.seed, judge, tuple(others))
        comparison = run_compare(shell, job, services, shown=asked.form is None)
        whole = _report(shell, comparison, asked, page, fields=question.schema is not None)
    finally:
        if page is not None:
            page.discard()
    _leave(comparison, strict=asked.strict, interrupted=comparison.interrupted or not whole)


def _judge(
    settings: Settings, named: str | None, question: Question, calls: tuple[Call, ...], shell: Shell
) -> Call | None:
    """The call of whoever is to rank the answers, attachments included; its text comes when they are there."""
    if named is None:
        return None
    target = parse_target(named, "--judge")
    call = settle(settings, target, Question(question.messages))._replace(command="compare")
    if any((call.endpoint.provider, call.request.model) == (c.endpoint.provider, c.request.model) for c in calls):
        shell.warn(f"the judge {named} is one of those it judges: models favour their own answers.")
    return call


def _preview(shell: Shell, settings: Settings, services: Services, calls: tuple[Call, ...], asked: _Asked) -> None:
    """One request a target, each of which would be sent `repeats` times; a judge's two need the answers first."""
    from llmswitch.runs.preview import preview

    requests = [{"target": call.target.text, **preview_document(preview(call, services, settings))} for call in calls]
    document = {"schema": "llmswitch/dry-runs/1", "repeats": asked.repeats, "judge": asked.judge}
    shell.json({**document, "requests": requests})


def _report(shell: Shell, comparison: Comparison, asked: _Asked, page: OutputFile | None, *, fields: bool) -> bool:
    """The page first: where it cannot be written, what was paid for still goes to stdout. Whether it got to its end.

    A Ctrl-C ends what takes long, the diffs and the page, and not the answers.
    """
    parts, failed, whole = Sections(), None, True
    try:
        parts = sections(comparison, diff=asked.diff, fields=fields)
        if page is not None:
            from llmswitch.reports.compare_page import comparison_page

            made_at = datetime.fromtimestamp(shell.wall(), tz=UTC).astimezone()
            page.write(comparison_page(comparison, parts, made_at=made_at))
    except StorageError as error:
        failed = error
    except KeyboardInterrupt:
        whole = False
    _FORMS[asked.form](shell, comparison, parts)
    if failed is not None:
        shell.error(failed.message)
        raise typer.Exit(failed.exit_code)
    return whole


def _print_json(shell: Shell, comparison: Comparison, parts: Sections) -> None:
    from llmswitch.reports.compare_document import comparison_document

    shell.json(comparison_document(comparison, parts))


def _print_markdown(shell: Shell, comparison: Comparison, parts: Sections) -> None:
    from llmswitch.reports.compare_markdown import comparison_markdown

    _print(shell, comparison_markdown(comparison, parts))


def _print_csv(shell: Shell, comparison: Comparison, parts: Sections) -> None:
    from llmswitch.reports.compare_document import CSV_COLUMNS, csv_rows
    from llmswitch.reports.csv import csv_text

    _print(shell, csv_text(CSV_COLUMNS, csv_rows(comparison)))


def _print_for_eyes(shell: Shell, comparison: Comparison, parts: Sections) -> None:
    from llmswitch.cli.comparison import print_comparison

    print_comparison(shell, comparison, parts)


_FORMS: dict[str | None, Callable[[Shell, Comparison, Sections], None]] = {
    None: _print_for_eyes,
    "json": _print_json,
    "markdown": _print_markdown,
    "csv": _print_csv,
}


def _print(shell: Shell, text: str) -> None:
    shell.stdout.write(text)
    shell.stdout.flush()


def _leave(comparison: Comparison, *, strict: bool, interrupted: bool) -> None:
    """130 where Ctrl-C ended it; 5 where a budget let nothing be sent; 1 where all targets failed, or under --strict
    any call or the judge did."""
    if interrupted:
        raise typer.Exit(130)
    if all(isinstance(sample.error, BudgetError) for sample in comparison.samples):
        raise typer.Exit(BudgetError.exit_code)
    failed = [sample.failed for sample in comparison.samples]
    judged = comparison.judgement is None or comparison.judgement.error is None
    if all(failed) or (strict and (any(failed) or not judged)):
        raise typer.Exit(1)
