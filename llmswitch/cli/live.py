"""An answer while it comes. Apart from ask.py because a cached answer needs no event loop."""

from __future__ import annotations

import asyncio

from llmswitch.cli.output import Printer, printer
from llmswitch.cli.shell import Shell
from llmswitch.errors import LLMSwitchError, TruncatedError
from llmswitch.layers.base import opened
from llmswitch.runs.ask import Services, answer
from llmswitch.runs.call import Call
from llmswitch.types import Response

__all__ = ["ask_live"]


def ask_live(shell: Shell, call: Call, services: Services, *, shown: bool) -> Response:
    """Ask for real; with `shown`, every piece is printed as it comes, and what came stays when the call fails."""
    with shell.holding_notes():
        return asyncio.run(_ask(shell, call, services, shown=shown))


async def _ask(shell: Shell, call: Call, services: Services, *, shown: bool) -> Response:
    # drawing on a terminal needs an import of 0.2 s, which fits in the time until the first token
    making = asyncio.create_task(asyncio.to_thread(printer, shell)) if shown else None
    shower: Printer | None = None
    response: Response | None = None
    adapter = call.vendor.connect(call.endpoint)
    try:
        async with opened(answer(call, services, adapter)) as chunks:
            async for chunk in chunks:
                if chunk.text and making is not None:
                    shower = shower or await making
                    shower.write(chunk.text)
                response = chunk.response or response
    except (LLMSwitchError, asyncio.CancelledError):
        if shower is not None:
            shower.close()
            shower = None
            shell.note("what came is not the whole answer.")
        raise
    finally:
        if shower is not None:
            shower.close()
        await adapter.aclose()
        if making is not None:
            await making
    if response is None:
        raise TruncatedError("the call ended without an answer.")
    return response
