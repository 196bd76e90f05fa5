"""`llmswitch ask`: one question, any provider."""

from __future__ import annotations

import secrets
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
from llmswitch.cli.output import OutputFile, printer
from llmswitch.cli.question import read_message, read_parameters, read_schema
from llmswitch.cli.routed import Checks, Explain, Margin, Plan, RouteBy, Routing, Task, plan_route, read_routing
from llmswitch.cli.shell import Shell
from llmswitch.conversations import Conversation, Conversations, new_conversation_id
from llmswitch.errors import ConfigError, StorageError
from llmswitch.reports.answer import preview_document, response_document, summary
from llmswitch.runs.ask import Services, find_cached, remember
from llmswitch.runs.call import Call, Question
from llmswitch.runs.policy import Policy, read_policy
from llmswitch.runs.route import Route, pick_target, route_of
from llmswitch.text import sanitize
from llmswitch.types import Response, Target

if TYPE_CHECKING:
    from llmswitch.profiles import Settings

__all__ = ["app"]

app = typer.Typer(add_completion=False)


class _Asked(NamedTuple):
    """The command line as it was typed."""

    prompt: str | None
    target: str | None
    model: str | None
    system: str | None
    attachments: tuple[str, ...]
    prompt_file: str | None
    max_tokens: str | None
    temperature: str | None
    schema: str | None
    stream: bool
    use_cache: bool
    refresh: bool
    dry_run: bool
    as_json: bool
    output: str | None
    goes_on: bool
    conversation: str | None
    no_stdin: bool
    restart_on_cut: bool
    routing: Routing | None
    task: str | None


class _Way(NamedTuple):
    """Whom a question goes to; with a `plan` without a choice, one of the route's calls after another."""

    route: Route
    plan: Plan | None = None

    @property
    def tiers(self) -> Plan | None:
        """The plan, where the tiers are asked one after another."""
        return self.plan if self.plan is not None and self.plan.choice is None else None


@app.command()
def ask(
    prompt: Prompt = None,
    provider: Annotated[
        str | None, typer.Option("--provider", "-p", help="Whom to ask: claude, openai, gemini, azure, local, …")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="provider[:model][?temperature=0&…] in one.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Which of its models.")] = None,
    profile: Profile = None,
    system: System = None,
    attachment: Attached = None,
    file: PromptFile = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    schema: Schema = None,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Ask for the answer in one piece.")] = False,
    no_cache: NoCache = False,
    refresh: Refresh = False,
    timeout: Timeout = None,
    fallback: Fallback = None,
    no_fallback: Annotated[bool, typer.Option("--no-fallback", help="Ask nobody else.")] = False,
    max_retries: MaxRetries = None,
    hedge: Annotated[
        str | None,
        typer.Option("--hedge", metavar="TIME", help="Ask the next target, too, after so long a silence: 2s."),
    ] = None,
    restart_on_cut: Annotated[
        bool, typer.Option("--restart-on-cut", help="Ask anew where the answer is cut while it is shown.")
    ] = False,
    route: RouteBy = None,
    task: Task = None,
    check: Checks = None,
    margin: Margin = None,
    explain: Explain = False,
    max_cost: MaxCost = None,
    allow_unknown_price: AllowUnknownPrice = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="FILE", help="Write here instead.")] = None,
    continue_: Annotated[bool, typer.Option("--continue", "-c", help="Go on with the latest conversation.")] = False,
    conversation: Annotated[str | None, typer.Option("--conversation", metavar="ID", help="Go on with it.")] = None,
    no_stdin: NoStdin = False,
    trust_profile: TrustProfile = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Ask one question. The answer goes to stdout as it comes, everything else to stderr."""
    if provider is not None and target is not None:
        raise ConfigError("give --provider or --target, not both: a target names its provider.")
    if fallback is not None and no_fallback:
        raise ConfigError("give --fallback or --no-fallback, not both.")
    shell = Shell.current(verbose=verbose, quiet=quiet)
    flags = switch_flags(timeout=timeout, max_retries=max_retries)
    if fallback is not None or no_fallback:
        flags["LLM_FALLBACK"] = ("--no-fallback", "none") if no_fallback else ("--fallback", fallback or "none")
    settings = shell.settings(profile=profile, flags=flags, trust_profile=trust_profile)
    asked = _Asked(
        prompt=prompt,
        target=target if provider is None else provider,
        model=model,
        system=system,
        attachments=tuple(attachment or ()),
        prompt_file=file,
        max_tokens=max_tokens,
        temperature=temperature,
        schema=schema,
        stream=not no_stream,
        use_cache=not no_cache,
        refresh=refresh,
        dry_run=dry_run,
        as_json=as_json,
        output=output,
        goes_on=continue_,
        conversation=conversation,
        no_stdin=no_stdin,
        restart_on_cut=restart_on_cut,
        routing=read_routing(route, task, check, margin, explain=explain),
        task=task,
    )
    if asked.routing is not None and (asked.target is not None or model is not None):
        raise ConfigError("--route chooses among LLM_TIERS: leave out --provider, --target and --model.")
    policy = read_policy(settings, hedge=hedge, max_cost=max_cost, allow_unknown_price=allow_unknown_price)
    _run(shell, settings, policy, asked)


def _run(shell: Shell, settings: Settings, policy: Policy, asked: _Asked) -> None:
    services = Services.from_settings(
        settings,
        use_cache=asked.use_cache,
        refresh=asked.refresh,
        policy=policy,
        warn=shell.warn,
        clock=shell.clock,
        wall=shell.wall,
    )
    way = _route(shell, settings, services, asked)
    route = way.route
    warn_about_keys(shell, settings)
    if asked.dry_run:
        from llmswitch.runs.preview import preview

        if way.tiers is not None:
            shell.note(f"the tiers are asked one after another; this is what {route.first.target.text} would get.")
        if route.pool > 1:
            shell.note(f"LLM_BALANCE chooses when it is sent; this is what {route.first.target.text} would get.")
        shell.json(preview_document(preview(route.first, services, settings)))
        return
    if asked.output == "":
        raise ConfigError("--output names no file.")
    output = OutputFile(Path(asked.output)) if asked.output not in (None, "-") else None
    try:
        response = _answer(shell, way, services, asked, output)
        remember(_asked_call(route, response), services, response)
        _tell(shell, response)
    finally:
        if output is not None:
            output.discard()
    if response.failed:
        raise typer.Exit(1)


def _asked_call(route: Route, response: Response) -> Call:
    """Of the route's calls, the one that answered; the first where a fallback did."""
    who = (response.provider, response.request_model)
    tiers = [call for call in route.calls if (call.endpoint.provider, call.request.model) == who]
    return route.chosen(response) if route.pool > 1 or not tiers else tiers[0]


def _route(shell: Shell, settings: Settings, services: Services, asked: _Asked) -> _Way:
    before = _conversation(services.conversations, asked)
    message = read_message(
        shell,
        prompt=asked.prompt,
        file=asked.prompt_file,
        attachments=asked.attachments,
        no_stdin=asked.no_stdin,
    )
    question = Question(
        messages=(*(before.messages if before else ()), message),
        system=asked.system or (before.system if before else None),
        model=asked.model,
        parameters=read_parameters(max_tokens=asked.max_tokens, temperature=asked.temperature),
        schema=read_schema(asked.schema),
        stream=asked.stream,
        restarts=asked.restart_on_cut or asked.as_json or asked.output not in (None, "-"),
        bounded=services.policy.budgeted,
    )
    conversation_id = before.id if before else new_conversation_id(shell.wall(), secrets.randbits(20))
    plan = None
    if asked.routing is not None:
        route, plan = plan_route(shell, settings, services, question, asked.routing)
    else:
        route = route_of(
            settings,
            services.policy,
            question,
            _target(shell, settings, services, asked, before),
            conversation=before.id if before else None,
        )
    _tell_whom(shell, route)
    kept = conversation_id if services.conversations else None
    calls = (call._replace(conversation_id=kept, task=asked.task) for call in route.calls)
    return _Way(route._replace(calls=tuple(calls)), plan)


def _tell_whom(shell: Shell, route: Route) -> None:
    if route.pool > 1:
        shell.detail(f"asking one of {', '.join(call.target.text for call in route.calls[: route.pool])}")
        return
    endpoint, request = route.first.endpoint, route.first.request
    shell.detail(f"asking {endpoint.provider}, model {request.model}, at {endpoint.identity()['base_url']}")


def _target(
    shell: Shell, settings: Settings, services: Services, asked: _Asked, before: Conversation | None
) -> Target | None:
    """Whom to ask; None where a balance chooses."""
    target, told = pick_target(
        settings, services.policy, named=asked.target, model=asked.model, before=before.target if before else None
    )
    if told:
        shell.note(told)
    return target


def _conversation(conversations: Conversations | None, asked: _Asked) -> Conversation | None:
    if not asked.goes_on and asked.conversation is None:
        return None
    if asked.goes_on and asked.conversation is not None:
        raise ConfigError("give --continue or --conversation, not both.")
    if conversations is None:
        raise ConfigError("no conversation to go on with: LLM_HISTORY is off.")
    name = asked.conversation if asked.conversation is not None else conversations.latest()
    if name is None:
        raise ConfigError("no conversation to go on with yet: ask something first, without --continue.")
    return conversations.load(name)


def _answer(shell: Shell, way: _Way, services: Services, asked: _Asked, output: OutputFile | None) -> Response:
    """From the cache, or asked for real; shown as it comes, or written once it is whole.

    A pipe cannot take back what it has: an answer that may begin again is printed there once it is whole.
    """
    route, routed = way.route, None
    shown = not asked.as_json and output is None
    comes = shown and not (asked.restart_on_cut and not shell.decorated(shell.stdout))
    response = find_cached(route.calls[: route.pool], services) if way.tiers is None else None
    if way.tiers is not None:
        from llmswitch.cli.routed import ask_tiers

        routed = ask_tiers(shell, route, services, way.tiers)
        response, comes = routed.response, False
    elif response is None:
        from llmswitch.cli.live import ask_live

        response = ask_live(shell, route, services, shown=comes)
    else:
        comes = False
    if shown and not comes:
        shower = printer(shell)
        shower.write(response.text)
        shower.close()
    if not shown:
        document = response_document(response, route.first.profile)
        if way.plan is not None:
            document["route"] = way.plan.document(routed.call if routed is not None else route.first, routed)
        text = shell.as_json(document) if asked.as_json else sanitize(response.text)
        text = text if text.endswith("\n") else text + "\n"
        if output is None:
            _print(shell, text)
        else:
            _write(shell, output, text)
    return response


def _write(shell: Shell, output: OutputFile, text: str) -> None:
    """Into the file; an answer that is paid for and does not fit there goes to stdout, its error to stderr."""
    try:
        output.write(text)
    except StorageError as error:
        _print(shell, text)
        shell.error(error.message)
        raise typer.Exit(error.exit_code) from error


def _print(shell: Shell, text: str) -> None:
    shell.stdout.write(text)
    shell.stdout.flush()


def _tell(shell: Shell, response: Response) -> None:
    """The line after the answer, and a warning where the answer is not what it seems."""
    if response.finish_reason != "stop":
        shell.warn(_FINISHES[response.finish_reason])
    elif not response.text.strip():
        shell.warn("the answer is empty.")
    shell.note(summary(response))


_FINISHES = {
    "length": "the answer was cut at the token limit: --max-tokens raises it.",
    "content_filter": "the vendor's safety filter cut this answer, or it is a refusal.",
    "tool_call": "the model asked for a tool, and was given none.",
    "error": "the vendor ended this answer with an error: it may not be whole.",
}
