"""Options that several commands take, spelled once."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "AllowUnknownPrice",
    "Attached",
    "DryRun",
    "Fallback",
    "Json",
    "MaxCost",
    "MaxRetries",
    "MaxTokens",
    "NoCache",
    "NoStdin",
    "Profile",
    "Prompt",
    "PromptFile",
    "Quiet",
    "Refresh",
    "RunsFolder",
    "Schema",
    "System",
    "Temperature",
    "Timeout",
    "TrustProfile",
    "Verbose",
    "switch_flags",
]

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Profile = Annotated[
    str | None,
    typer.Option("--profile", "-P", metavar="NAME", help="The environment profile to use."),
]
TrustProfile = Annotated[
    bool, typer.Option("--trust-profile", help="Trust this working tree's profile for this one call.")
]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="SECONDS", help="The longest the whole call may take [600].")
]
System = Annotated[str | None, typer.Option("--system", "-s", help="The system prompt.")]
Attached = Annotated[
    list[str] | None, typer.Option("--attachment", "-a", metavar="FILE", help="Image, PDF or text; repeatable.")
]
PromptFile = Annotated[str | None, typer.Option("--file", "-f", metavar="FILE", help="A file with the prompt.")]
MaxTokens = Annotated[str | None, typer.Option("--max-tokens", metavar="N", help="The longest answer.")]
Temperature = Annotated[str | None, typer.Option("--temperature", metavar="0-2", help="Randomness.")]
Schema = Annotated[
    str | None, typer.Option("--schema", metavar="FILE", help="A JSON Schema that the answer must match.")
]
Fallback = Annotated[
    str | None, typer.Option("--fallback", metavar="TARGETS", help="Whom to ask where one fails: gemini,openai:…")
]
MaxRetries = Annotated[
    str | None, typer.Option("--max-retries", metavar="N", help="How often a target that failed is asked again [2].")
]
MaxCost = Annotated[
    str | None, typer.Option("--max-cost", metavar="USD", help="Send nothing that could make this command cost more.")
]
AllowUnknownPrice = Annotated[
    bool, typer.Option("--allow-unknown-price", help="Under a budget, ask a model whose price is unknown, too.")
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither read nor write the cache.")]
Refresh = Annotated[bool, typer.Option("--refresh", help="Ask anew, and replace what the cache holds.")]
RunsFolder = Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="Where runs are kept.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be sent and cost; send nothing.")]
NoStdin = Annotated[bool, typer.Option("--no-stdin", help="Leave stdin unread.")]
Prompt = Annotated[str | None, typer.Argument(help="The question; '-' reads it from stdin.")]


def switch_flags(*, timeout: str | None, max_retries: str | None) -> dict[str, tuple[str, str]]:
    """Flags that stand in for variables: variable -> (flag as typed, value)."""
    given = {"LLM_TIMEOUT": ("--timeout", timeout), "LLM_MAX_RETRIES": ("--max-retries", max_retries)}
    return {name: (flag, value) for name, (flag, value) in given.items() if value is not None}
