"""What llmswitch's layers cost a request: `python -m benchmarks.overhead [--runs 5] [--litellm VENV|skip]`.

Every case asks the same server on loopback (loopback.py), which answers at once, from a process of its own at
concurrency 50. CPU is user + system time of all threads of that process, over `--requests` calls after a warm-up.
Cases are interleaved, so that a busy machine slows all of them; figures are medians.

- the bare SDK: `openai` with its own client, and with the HTTP client that llmswitch gives it, which is aiohttp's
  (the extra `aiohttp`);
- `Switch` with every layer on: ledger, deadlines, a fallback, cache (each prompt is new, so each answer is looked for,
  asked for and stored), retry, schema, circuit breaker, limits, budgets, prices;
- litellm's `Router` with two deployments, in an environment of its own, made for the run unless `--litellm` names one.

Targets: `Switch` at most 1.0 of the bare SDK and at most 1.25 of the bare SDK on llmswitch's HTTP client.
"""

# Only the standard library up here: litellm's environment, which has no llmswitch, runs this file, too.
from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

_CONCURRENCY = 50
_MODEL = "gpt-4o-mini"
#: releases that carried a credential stealer
_LITELLM = "litellm!=1.82.7,!=1.82.8"

#: asks one question, to the end of its answer
Ask = Callable[[str], Awaitable[object]]


class Figures(NamedTuple):
    """Of one run of one case: CPU milliseconds a request, requests a second, median latency in milliseconds."""

    cpu_ms: float
    rate: float
    p50_ms: float


def _messages(prompt: str) -> Any:
    return [{"role": "user", "content": prompt}]


def _sdk_ask(client: Any, stream: bool) -> Ask:
    async def ask(prompt: str) -> None:
        create = client.chat.completions.create
        if not stream:
            answer = await create(model=_MODEL, messages=_messages(prompt))
            assert answer.choices[0].message.content  # noqa: S101  # an answer that is none measures nothing
            return
        text = ""
        options = {"include_usage": True}
        async for chunk in await create(model=_MODEL, messages=_messages(prompt), stream=True, stream_options=options):
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        assert text  # noqa: S101  # see above

    return ask


@asynccontextmanager
async def _sdk(url: str, stream: bool) -> AsyncIterator[Ask]:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(api_key="k", base_url=url) as client:
        yield _sdk_ask(client, stream)


@asynccontextmanager
async def _sdk_on_our_client(url: str, stream: bool) -> AsyncIterator[Ask]:
    from openai import AsyncOpenAI

    from llmswitch.providers.base import Endpoint
    from llmswitch.providers.http import http_client

    http = http_client(Endpoint("openai", url, lasting=True), "OPENAI_BASE_URL")
    async with AsyncOpenAI(api_key="k", base_url=url, http_client=http) as client:
        yield _sdk_ask(client, stream)


@asynccontextmanager
async def _switch(url: str, stream: bool) -> AsyncIterator[Ask]:
    from llmswitch import Message, Question, Switch

    async def ask(prompt: str) -> None:
        answer = await switch.ask(Question((Message("user", prompt),), stream=stream), target=f"openai:{_MODEL}")
        assert answer.text  # noqa: S101  # see above
        assert not answer.cached  # noqa: S101  # every prompt is new

    with tempfile.TemporaryDirectory() as home:
        environ = {
            "LLMSWITCH_HOME": home,
            "OPENAI_API_KEY": "k",
            "OPENAI_BASE_URL": url,
            "LLM_ENDPOINTS": "spare",
            "SPARE_BASE_URL": url,
            "SPARE_API_KEY": "k",
            "SPARE_MODEL": _MODEL,
            "LLM_FALLBACK": f"spare:{_MODEL}",
            "OPENAI_RPM": "10000000",
            "OPENAI_TPM": "10000000000",
            "LLM_BUDGET_DAILY": "1000000",
            "LLM_BUDGET_MONTHLY": "1000000",
            "MAX_TOKENS": "64",
        }
        async with Switch.from_profile(environ=environ, cwd=Path(home), warn=_complain) as switch:
            yield ask


def _complain(message: str) -> None:
    print(f"  {message}", file=sys.stderr)


@asynccontextmanager
async def _litellm(url: str, stream: bool) -> AsyncIterator[Ask]:
    from litellm import Router  # type: ignore[import-not-found]  # only in an environment of its own

    async def ask(prompt: str) -> None:
        answer = await router.acompletion(model="both", messages=_messages(prompt), stream=stream)
        if not stream:
            assert answer.choices[0].message.content  # noqa: S101  # see above
            return
        text = ""
        async for chunk in answer:
            text += chunk.choices[0].delta.content or ""
        assert text  # noqa: S101  # see above

    deployment = {"model": f"openai/{_MODEL}", "api_base": url, "api_key": "k"}
    router = Router(model_list=[{"model_name": "both", "litellm_params": deployment} for _ in range(2)])
    yield ask


#: how each case's answers are asked for, by its name in the table
CASES: Mapping[str, Callable[[str, bool], AbstractAsyncContextManager[Ask]]] = {
    "bare SDK": _sdk,
    "bare SDK, our client": _sdk_on_our_client,
    "Switch": _switch,
    "litellm Router": _litellm,
}


async def _measure(name: str, url: str, requests: int, stream: bool) -> Figures:
    async with CASES[name](url, stream) as ask:
        await _ask_all(ask, (f"warm-up {number}" for number in range(max(100, requests // 10))))
        cpu, wall = time.process_time(), time.perf_counter()
        took = await _ask_all(ask, (f"Why is the sky blue? ({number})" for number in range(requests)))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Figures(cpu / requests * 1000, requests / wall, statistics.median(took) * 1000)


async def _ask_all(ask: Ask, prompts: Iterator[str]) -> list[float]:
    """Ask everything, 50 at a time; how long each took, in seconds."""
    took: list[float] = []

    async def work() -> None:
        for prompt in prompts:  # one iterator for all
            started = time.perf_counter()
            await ask(prompt)
            took.append(time.perf_counter() - started)

    await asyncio.gather(*(work() for _ in range(_CONCURRENCY)))
    return took


def _child(python: str, name: str, url: str, options: argparse.Namespace) -> Figures:
    command = [python, __file__, "--child", name, "--url", url, "--requests", str(options.requests)]
    # litellm would fetch a price list from the network at its import
    environ = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        [*command, "--stream"] if options.stream else command,
        check=True,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
        env=environ,
    )
    return Figures(*json.loads(done.stdout.splitlines()[-1]))


def _litellm_python(folder: str) -> str:
    """An environment of its own with litellm in it; returns its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(Path(folder) / "bin" / "python")
    subprocess.run([python, "-I", "-m", "pip", "install", "--quiet", _LITELLM], check=True)
    return python


def _compare(pythons: Mapping[str, str], options: argparse.Namespace) -> None:
    """Measure the cases in turn, and print the medians and their ratios."""
    command = [sys.executable, "-m", "benchmarks.loopback"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1], text=True
    ) as server:
        assert server.stdin is not None  # noqa: S101  # pipes were asked for
        assert server.stdout is not None  # noqa: S101
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        seen: dict[str, list[Figures]] = {name: [] for name in pythons}
        for _ in range(options.runs):
            for name, python in pythons.items():
                seen[name].append(_child(python, name, url, options))
        server.stdin.close()
    medians = {name: Figures(*map(statistics.median, zip(*runs, strict=True))) for name, runs in seen.items()}
    bare, ours = (medians[name].cpu_ms for name in ("bare SDK", "bare SDK, our client"))
    print(f"{options.requests} requests, {_CONCURRENCY} at a time, medians of {options.runs} interleaved runs")
    for name, figures in medians.items():
        print(
            f"{name:<22} CPU {figures.cpu_ms:5.2f} ms/request = {figures.cpu_ms / bare:.2f} of bare,"
            f" {figures.cpu_ms / ours:.2f} of our client   {figures.rate:5.0f}/s   p50 {figures.p50_ms:5.1f} ms"
        )


def main() -> None:
    """Run one case in a child, or all of them in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--stream", action="store_true", help="ask for streams")
    parser.add_argument("--litellm", metavar="VENV", help="the environment that has litellm, or 'skip'")
    parser.add_argument("--child", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(asyncio.run(_measure(options.child, options.url, options.requests, options.stream))))
        return
    with tempfile.TemporaryDirectory() as folder:
        pythons = dict.fromkeys(CASES, sys.executable)
        if options.litellm == "skip":
            del pythons["litellm Router"]
        else:
            kept = options.litellm and str(Path(options.litellm) / "bin" / "python")
            pythons["litellm Router"] = kept or _litellm_python(folder)
        _compare(pythons, options)


if __name__ == "__main__":
    main()
