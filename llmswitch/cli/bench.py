"""`llmswitch bench`: a suite asked of every target, measured and judged; and the runs that were made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from llmswitch.cli.bench_extra import need_extra
from llmswitch.cli.bench_runs import RUNS
from llmswitch.cli.bench_runs import app as runs
from llmswitch.cli.options import (
    AllowUnknownPrice,
    Json,
    MaxCost,
    MaxRetries,
    MaxTokens,
    NoCache,
    Profile,
    Quiet,
    Refresh,
    RunsFolder,
    Temperature,
    Timeout,
    TrustProfile,
    Verbose,
)
from llmswitch.cli.shell import Shell

__all__ = ["app"]

_RUN = "run"


class _Bench(TyperGroup):
    """`llmswitch bench suite.yaml` is `llmswitch bench run suite.yaml`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What is no subcommand's name begins the arguments of `run`."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [_RUN, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Bench,
    help="Ask a suite of every target, measure and judge: 'llmswitch bench suite.yaml'.",
    no_args_is_help=True,
    add_completion=False,
)

Targets = Annotated[
    list[str] | None, typer.Option("--target", "-t", help="Whom to ask, in place of the suite's providers; repeatable.")
]
Judge = Annotated[str | None, typer.Option("--judge", metavar="TARGET", help="Who grades where an assertion asks.")]
AllowCode = Annotated[bool, typer.Option("--allow-code", help="Let the suite's 'python' assertions run.")]
AllowFiles = Annotated[bool, typer.Option("--allow-files", help="Let file:// leave the suite's folder.")]
Repeats = Annotated[str | None, typer.Option("--repeats", metavar="N", help="Ask every case N times [1].")]


@app.command(_RUN)
def _run(
    suite: Annotated[str | None, typer.Argument(help="YAML, JSON, JSONL or CSV.")] = None,
    target: Targets = None,
    profile: Profile = None,
    output: RunsFolder = RUNS,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Go on with a run: an id, its beginning, or 'last'.")
    ] = None,
    repeats: Repeats = None,
    warmup: Annotated[
        str | None, typer.Option("--warmup", metavar="N", help="Calls to each target that do not count [0].")
    ] = None,
    concurrency: Annotated[
        str | None, typer.Option("--concurrency", metavar="N", help="Calls to each target at a time [4].")
    ] = None,
    rate: Annotated[
        str | None, typer.Option("--rate", metavar="R", help="Ask each target R times a second, come what may.")
    ] = None,
    arrival: Annotated[str, typer.Option("--arrival", metavar="constant|poisson", help="How --rate spaces them.")] = (
        "constant"
    ),
    duration: Annotated[str | None, typer.Option("--duration", metavar="TIME", help="For how long: 30s, 5m.")] = None,
    no_pace: Annotated[
        bool, typer.Option("--no-pace", help="Offer all the load asked for, even where this machine cannot keep up.")
    ] = False,
    seed: Annotated[str | None, typer.Option("--seed", metavar="N", help="Repeat the order of an earlier run.")] = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="RUN", help="Measure against a run, 'last-green' or 'blessed'."),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option("--fail-if", metavar="RULE", help="As 'p95.duration:+10%', 'score<0.9'; repeatable."),
    ] = None,
    slo: Annotated[
        str | None, typer.Option("--slo", metavar="BOUNDS", help="As ttft=800ms,itl=50ms,e2e=5s,good=95%.")
    ] = None,
    alpha: Annotated[str, typer.Option("--alpha", metavar="P", help="How often a gate may fail for nothing.")] = "0.05",
    max_errors: Annotated[
        str, typer.Option("--max-errors", metavar="SHARE", help="More errors than this, and nothing is judged.")
    ] = "20%",
    strict: Annotated[bool, typer.Option("--strict", help="Exit 4 where the gate is inconclusive.")] = False,
    batch: Annotated[
        bool, typer.Option("--batch", help="Ask through the vendors' batch interfaces: half the price, and no latency.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --batch: send it, whatever it costs.")] = False,
    confirm_above: Annotated[
        str, typer.Option("--confirm-above", metavar="USD", help="With --batch: what may be sent without asking.")
    ] = "1",
    judge: Judge = None,
    allow_code: AllowCode = False,
    allow_files: AllowFiles = False,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    no_cache: NoCache = False,
    refresh: Refresh = False,
    timeout: Timeout = None,
    max_retries: MaxRetries = None,
    max_cost: MaxCost = None,
    allow_unknown_price: AllowUnknownPrice = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="As 'bench check': send nothing.")] = False,
    trust_profile: TrustProfile = False,
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Make a run: every case of the suite, asked of every target. Answers are never taken from the cache."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    need_extra()
    from llmswitch.cli.bench_check import check_suite
    from llmswitch.cli.bench_run import make_run, resume_run
    from llmswitch.cli.bench_setting import Asked
    from llmswitch.runs.bench.folder import find_run

    asked = Asked(
        base=Path(output),
        suite=suite,
        targets=tuple(target or ()),
        profile=profile,
        repeats=repeats,
        warmup=warmup,
        concurrency=concurrency,
        rate=rate,
        arrival=arrival,
        duration=duration,
        no_pace=no_pace,
        seed=seed,
        baseline=baseline,
        fail_if=tuple(fail_if or ()),
        slo=slo,
        alpha=alpha,
        max_errors=max_errors,
        strict=strict,
        batch=batch,
        yes=yes,
        confirm_above=confirm_above,
        judge=judge,
        allow_code=allow_code,
        allow_files=allow_files,
        max_tokens=max_tokens,
        temperature=temperature,
        no_cache=no_cache,
        refresh=refresh,
        timeout=timeout,
        max_retries=max_retries,
        max_cost=max_cost,
        allow_unknown_price=allow_unknown_price,
        trust_profile=trust_profile,
        as_json=as_json,
    )
    if dry_run:
        check_suite(shell, asked)
        return
    if resume is None:
        raise typer.Exit(make_run(shell, asked))
    asked.check_resumable()
    raise typer.Exit(resume_run(shell, asked, find_run(asked.base, resume)))


@app.command()
def check(
    suite: Annotated[str, typer.Argument(help="YAML, JSON, JSONL or CSV.")],
    target: Targets = None,
    profile: Profile = None,
    repeats: Repeats = None,
    judge: Judge = None,
    allow_code: AllowCode = False,
    allow_files: AllowFiles = False,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    trust_profile: TrustProfile = False,
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Read a suite as a run would, and say how many calls it takes and about what they cost. Nothing is sent."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    need_extra()
    from llmswitch.cli.bench_check import check_suite
    from llmswitch.cli.bench_setting import Asked

    check_suite(
        shell,
        Asked(
            base=Path(RUNS),
            suite=suite,
            targets=tuple(target or ()),
            profile=profile,
            repeats=repeats,
            judge=judge,
            allow_code=allow_code,
            allow_files=allow_files,
            max_tokens=max_tokens,
            temperature=temperature,
            trust_profile=trust_profile,
            as_json=as_json,
        ),
    )


app.add_typer(runs)
