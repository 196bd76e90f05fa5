"""An answer while it comes. Apart from ask.py because a cached answer needs no event loop."""

from __future__ import annotations

import asyncio

from llmswitch.cli.output import Printer, printer
from llmswitch.cli.shell import Shell
from llmswitch.cli.waiting import Waiting
from llmswitch.errors import LLMSwitchError, TruncatedError
from llmswitch.layers.base import opened
from llmswitch.runs.adapters import Adapters
from llmswitch.runs.ask import Asking, Services, answer
from llmswitch.runs.route import Route
from llmswitch.runs.shared import Shared
from llmswitch.types import Response

__all__ = ["ask_live"]

_AGAIN = "the answer was cut: it is asked for once more, and what stands above is void."


def ask_live(shell: Shell, route: Route, services: Services, *, shown: bool) -> Response:
    """Ask for real; with `shown`, every piece is printed as it comes, and what came stays when the call fails."""
    with shell.holding_notes():
        return asyncio.run(_ask(shell, route, services, shown=shown))


async def _ask(shell: Shell, route: Route, services: Services, *, shown: bool) -> Response:
    # drawing on a terminal needs an import of 0.2 s, which fits in the time until the first token
    making = asyncio.create_task(asyncio.to_thread(printer, shell)) if shown else None
    shower: Printer | None = None
    response: Response | None = None
    shared, adapters, waiting = Shared(services), Adapters(), Waiting(shell)
    try:
        if len(route.calls) == 1:  # else it is yet to be seen who is asked
            adapters.connect(route.first)
        asking = Asking(services, shared, adapters.get)
        async with opened(answer(route, asking, notify=waiting.tell)) as chunks:
            async for chunk in chunks:
                if chunk.restart and shower is not None:
                    shower.close()
                    shower = None
                    making = asyncio.create_task(asyncio.to_thread(printer, shell))
                    waiting.say(_AGAIN)
                if chunk.text and making is not None:
                    waiting.clear()
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
        waiting.clear()
        if shower is not None:
            shower.close()
        await adapters.aclose()
        await shared.aclose()
        if making is not None:
            await making
    if response is None:
        raise TruncatedError("the call ended without an answer.")
    return response
