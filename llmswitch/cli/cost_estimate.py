"""`llmswitch cost estimate`: what a prompt, or a suite, would cost here and there. Nothing is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmswitch.cli.options import (
    Attached,
    Json,
    MaxTokens,
    NoStdin,
    Profile,
    PromptFile,
    Quiet,
    System,
    TrustProfile,
    Verbose,
)
from llmswitch.cli.shell import Shell
from llmswitch.errors import ConfigError

if TYPE_CHECKING:
    from llmswitch.profiles import Settings
    from llmswitch.runs.estimate import Job, TargetEstimate

__all__ = ["app"]

app = typer.Typer(add_completion=False)

#: what a suite's file is called; any other argument is a prompt
_SUITES = (".yaml", ".yml", ".json")


@app.command()
def estimate(
    prompt: Annotated[str | None, typer.Argument(help="The question, or a suite's file; '-' reads stdin.")] = None,
    *,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="provider[:model]; repeatable; without it, every configured one."),
    ] = None,
    system: System = None,
    attachment: Attached = None,
    file: PromptFile = None,
    max_tokens: MaxTokens = None,
    answer_tokens: Annotated[
        str | None, typer.Option("--answer-tokens", metavar="N", help="How long an answer is, where you know better.")
    ] = None,
    per_month: Annotated[
        str | None, typer.Option("--per-month", metavar="N", help="Also what N of it a month cost.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Have nobody count the input: approximate it from its size.")
    ] = False,
    judge: Annotated[str | None, typer.Option("--judge", metavar="TARGET", help="For a suite that names none.")] = None,
    allow_files: Annotated[
        bool, typer.Option("--allow-files", help="Let a suite read files outside its folder.")
    ] = False,
    no_stdin: NoStdin = False,
    profile: Profile = None,
    trust_profile: TrustProfile = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """What a prompt or a suite would cost, target by target, the cheapest first. Nothing is asked."""
    from llmswitch.reports.estimate import estimate_document, estimate_notes, estimate_table
    from llmswitch.targets import integer

    shell = Shell.current(verbose=verbose, quiet=quiet)
    months = None if per_month is None else integer(per_month, "--per-month", 1, 10**12)
    answer = None if answer_tokens is None else integer(answer_tokens, "--answer-tokens", 0, 10**9)
    targets = tuple(target or ())
    if prompt is not None and _is_suite(shell, prompt):
        for flag, given in (("--system", system), ("--attachment", attachment), ("--file", file)):
            if given is not None:
                raise ConfigError(f"{flag} goes with a prompt: {prompt} says itself what is asked.")
        suite = prompt
        settings, jobs = _suite_jobs(
            shell,
            suite,
            targets,
            profile=profile,
            trust=trust_profile,
            judge=judge,
            allow_files=allow_files,
            max_tokens=max_tokens,
        )
    else:
        suite = None
        settings = shell.settings(profile=profile, trust_profile=trust_profile)
        asked = (prompt, file, tuple(attachment or ()), no_stdin)
        jobs = _prompt_jobs(shell, settings, targets, asked, system=system, max_tokens=max_tokens)
    found = _estimates(shell, settings, jobs, answer=answer, offline=offline)
    if json:
        shell.json(estimate_document(found, per_month=months, suite=suite))
        return
    shell.table(estimate_table(found, months))
    for note in estimate_notes(found):
        shell.note(note)


def _is_suite(shell: Shell, prompt: str) -> bool:
    """Whether it is a suite's file; one word that is called like one and is none may be a slip, and is told."""
    if Path(prompt).suffix.lower() not in _SUITES:
        return False
    try:
        there = Path(prompt).is_file()
    except OSError:  # no name of a file is so long
        there = False
    if not there and len(prompt) < 200 and len(prompt.split()) == 1:
        shell.warn(f"there is no file {prompt}: it is taken for the prompt itself.")
    return there


def _prompt_jobs(
    shell: Shell,
    settings: Settings,
    targets: tuple[str, ...],
    asked: tuple[str | None, str | None, tuple[str, ...], bool],
    *,
    system: str | None,
    max_tokens: str | None,
) -> list[Job]:
    from llmswitch.cli.question import read_message, read_parameters
    from llmswitch.runs.call import Question
    from llmswitch.runs.compare import settle_calls
    from llmswitch.runs.estimate import job_of

    prompt, file, attachments, no_stdin = asked
    message = read_message(shell, prompt=prompt, file=file, attachments=attachments, no_stdin=no_stdin)
    parameters = read_parameters(max_tokens=max_tokens, temperature=None)
    question = Question((message,), system=system, parameters=parameters)
    jobs = (job_of(call.target.text, [call]) for call in settle_calls(settings, question, targets, shell.warn))
    return [job for job in jobs if job is not None]


def _suite_jobs(
    shell: Shell,
    suite: str,
    targets: tuple[str, ...],
    *,
    profile: str | None,
    trust: bool,
    judge: str | None,
    allow_files: bool,
    max_tokens: str | None,
) -> tuple[Settings, list[Job]]:
    from llmswitch.cli.bench_extra import need_extra

    need_extra()
    from llmswitch.cli.bench_setting import Asked, read_setting
    from llmswitch.runs.bench.targets import asked as question_of
    from llmswitch.runs.estimate import job_of

    asked = Asked(
        base=Path(),
        suite=suite,
        targets=targets,
        profile=profile,
        judge=judge,
        # nothing of it is run: what assertions would do is none of an estimate's business
        allow_code=True,
        allow_files=allow_files,
        max_tokens=max_tokens,
        trust_profile=trust,
    )
    setting = read_setting(shell, asked)
    jobs = (
        job_of(
            target.label,
            (
                question_of(target.call, case)
                for case in setting.suite.cases()
                if case.targets is None or target.label in case.targets
            ),
            setting.options.repeats,
        )
        for target in setting.targets
    )
    if setting.grading.judges:
        shell.note("what judges cost is not in it.")
    return setting.settings, [job for job in jobs if job is not None]


def _estimates(
    shell: Shell, settings: Settings, jobs: list[Job], *, answer: int | None, offline: bool
) -> list[TargetEstimate]:
    import asyncio

    from llmswitch.pricing import load_prices
    from llmswitch.runs.estimate import answers_given, answers_of, approximated, count_inputs, estimate, ordered

    prices, now = load_prices(settings), shell.wall()
    inputs = [approximated(job) for job in jobs] if offline else asyncio.run(count_inputs(jobs))
    outputs = [
        answers_of(settings.paths.ledger, job.call) if answer is None else answers_given(_capped(answer, job))
        for job in jobs
    ]
    found = (estimate(*one, prices, now) for one in zip(jobs, inputs, outputs, strict=True))
    return ordered(found)


def _capped(tokens: int, job: Job) -> int:
    """No answer is longer than what it is cut off at."""
    cap = job.call.request.parameters.max_tokens
    return tokens if cap is None else min(tokens, cap)
