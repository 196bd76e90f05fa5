"""Runs a suite's Python once: a JSON document on standard input, the result as another on standard output.

Run as `python -m llmswitch.assertions.coderunner SECONDS`, after which it ends itself: whoever asked may be gone.
What the code prints goes nowhere.
"""

from __future__ import annotations

import asyncio
import faulthandler
import inspect
import json
import os
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["function_of", "main"]

#: characters of a result, as JSON: whoever asked reads all of it
_LONGEST = 1_000_000


def function_of(value: str) -> Callable[[str, Any], Any]:
    """What a suite's value stands for. Raises whatever its code raises."""
    if value.startswith("file://"):
        path, _, name = value.removeprefix("file://").partition(".py:")
        path = path if path.endswith(".py") else f"{path}.py"
        sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
        import runpy

        function: Callable[[str, Any], Any] = runpy.run_path(path)[name or "get_assert"]
        return function
    names: dict[str, Any] = {}
    exec(compile(_source(value), "<assertion>", "exec"), names)  # noqa: S102  # what --allow-code allows
    main: Callable[[str, Any], Any] = names["main"]
    return main


def _source(value: str) -> str:
    """A function around an expression, or around lines, which are indented as the first of them that is."""
    lines = value.split("\n")
    if len(lines) == 1:
        body = f"    return {value}"
    else:
        indented = (line[: len(line) - len(line.lstrip())] for line in lines if line.strip() and line[0].isspace())
        space = next(indented, "    ")
        body = "\n".join(space + line for line in lines)
    return f"import json\n\ndef main(output, context):\n{body}\n"


async def _awaited(result: Any) -> Any:
    return await result


def main(limit_s: float) -> None:
    """Read the job, run it, and print what came of it."""
    faulthandler.dump_traceback_later(limit_s, exit=True)
    job = json.load(sys.stdin)
    # the code's own prints must not stand in the result
    results = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        result = function_of(job["value"])(job["output"], job["context"])
        if inspect.isawaitable(result):
            result = asyncio.run(_awaited(result))
        said = json.dumps({"result": result})
        if len(said) > _LONGEST:
            raise ValueError(f"it returned over {_LONGEST:,} characters")
    except (Exception, SystemExit) as error:  # whatever it raises is what is told of it
        said = json.dumps({"error": f"{type(error).__name__}: {error}"})
    results.write(said)
    results.flush()
    os._exit(0)  # threads that it left running must not keep it


if __name__ == "__main__":
    main(float(sys.argv[1]))
