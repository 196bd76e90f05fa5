"""Options that several commands take, spelled once."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Json", "Profile", "Quiet", "Timeout", "TrustProfile", "Verbose"]

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
