"""`run.json`: begun before anything is sent, and worked out anew from what is on disk whenever it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from llmswitch.errors import StorageError
from llmswitch.runs.bench.data import RunData
from llmswitch.runs.bench.document import ClientDocument, GateDocument, RunDocument, unmeasured
from llmswitch.runs.bench.figures import TargetHead, comparison_documents, target_documents
from llmswitch.runs.bench.folder import SCHEMA, RunFolder
from llmswitch.runs.bench.gate import GateInput, judge_gate, without_times
from llmswitch.runs.bench.model import Options
from llmswitch.runs.bench.rules import parse_rules
from llmswitch.runs.bench.targets import BenchTarget
from llmswitch.runs.call import Call
from llmswitch.suites.model import Suite

__all__ = ["Ended", "Head", "begun", "moment", "summarised"]


class Head(NamedTuple):
    """What is known of a run before anything is sent; `started_at` in epoch seconds, `planned` None in an open loop.

    `asked` is what of the command line it takes to go on, `baseline` the folder of the run to measure against.
    """

    id: str
    suite: Suite
    targets: tuple[BenchTarget, ...]
    options: Options
    asked: Mapping[str, Any]
    profile: str | None
    started_at: float
    planned: int | None
    judges: Mapping[str | None, Call] = {}


class Ended(NamedTuple):
    """How a sitting ended: `complete` where nothing is left, `at` in epoch seconds."""

    complete: bool
    client: ClientDocument
    measured_s: float
    warmup: Mapping[str, Any]
    at: float


def moment(epoch_s: float) -> str:
    """`2026-11-23T02:15:00Z`."""
    return datetime.fromtimestamp(epoch_s, tz=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def begun(head: Head) -> RunDocument:
    """`run.json` of a run of which nothing is on disk yet."""
    heads = {target.label: _head(target.call) for target in head.targets}
    return RunDocument(
        schema=SCHEMA,
        id=head.id,
        suite=head.suite.name,
        suite_path=str(Path(head.suite.path).absolute()),
        fingerprint=head.suite.fingerprint,
        asserted=head.suite.asserted,
        complete=False,
        seed=head.options.seed,
        started_at=moment(head.started_at),
        finished_at=None,
        measured_s=0.0,
        profile=head.profile,
        batch=head.options.batch,
        options=head.options.as_dict(),
        asked=dict(head.asked),
        judges=_judges(head.suite, head.judges),
        cases=head.suite.count,
        planned=head.planned,
        warmup={"samples": 0, "errors": 0},
        client=unmeasured(),
        targets=target_documents(RunData(), heads, measured_s=0.0, slo=head.options.slo),
        comparisons=[],
        gate=GateDocument(
            verdict="not judged", checks=[], baseline=None, alpha=head.options.alpha, reason="nothing was measured yet"
        ),
        warnings=list(head.suite.warnings),
    )


def _judges(suite: Suite, calls: Mapping[str | None, Call]) -> dict[str, dict[str, Any]]:
    """Who grades, by the target as typed; who is named and never asked is left out."""
    own = calls.get(None) if suite.needs_judge else None
    asked = {name: call for name, call in calls.items() if name is not None and (name in suite.graded or call is own)}
    heads = {name: _head(call)._asdict() for name, call in sorted(asked.items())}
    return {
        name: {key: head[key] for key in ("provider", "request_model", "parameters")} for name, head in heads.items()
    }


def _head(call: Call) -> TargetHead:
    request, endpoint = call.request, call.endpoint
    parameters = request.parameters.as_dict()
    system = {} if request.system is None else {"system": request.system}
    return TargetHead(endpoint.provider, request.model, endpoint.identity()["base_url"], {**parameters, **system})


def summarised(folder: RunFolder, ended: Ended | None = None) -> RunDocument:
    """`run.json` as it ought to be, from what it says and what is on disk. Raises StorageError."""
    document = folder.read()
    options = Options.from_dict(document["options"])
    data = RunData.read(folder.rows())
    if ended is not None:
        document["complete"] = ended.complete
        document["client"] = _with_earlier(ended.client, document["client"])
        document["measured_s"] = ended.measured_s
        document["warmup"] = dict(ended.warmup)
        document["finished_at"] = moment(ended.at) if ended.complete else None
    heads = {
        target["target"]: TargetHead(
            target["provider"], target["request_model"], target["base_url"], target["parameters"]
        )
        for target in document["targets"]
    }
    document["targets"] = target_documents(data, heads, measured_s=document["measured_s"], slo=options.slo)
    document["comparisons"] = comparison_documents(data, options.alpha, timed=not options.batch)
    document["gate"] = _judged(document, data, options)
    gone = _gone(document["gate"]["baseline"])
    if gone is not None and gone not in document["warnings"]:
        document["warnings"].append(gone)
    return document


def _is_batch(baseline: RunFolder) -> bool:
    """Whether the baseline was asked as a batch. One that lost its run.json has lost its samples."""
    try:
        return bool(baseline.read().get("batch"))
    except StorageError:
        return False


def _gone(baseline: str | None) -> str | None:
    """What to say of a baseline that was there when the run was begun."""
    if baseline is None or RunFolder(Path(baseline)).samples.exists():
        return None
    return f"the baseline is not in {baseline} any more: nothing can be held against it. Put it back, or begin anew."


def _with_earlier(client: ClientDocument, earlier: ClientDocument) -> ClientDocument:
    """What this sitting says, and the worst of all sittings where that tells whether to believe the figures."""
    lags = [lag for lag in (client["loop_lag_p99_s"], earlier["loop_lag_p99_s"]) if lag is not None]
    return {
        **client,
        "loop_lag_p99_s": max(lags, default=None),
        "saturated": client["saturated"] or earlier["saturated"],
        "paced": client["paced"] or earlier["paced"],
    }


def _judged(document: RunDocument, data: RunData, options: Options) -> GateDocument:
    found = document["gate"]["baseline"]
    baseline = None if found is None else RunFolder(Path(found))
    gate = judge_gate(
        GateInput(
            run=data,
            asserted=document["asserted"],
            rules=parse_rules(options.fail_if),
            slo=options.slo,
            alpha=options.alpha,
            max_errors=options.max_errors,
            baseline=None if baseline is None else RunData.read(baseline.rows()),
            baseline_id=options.baseline if baseline is None else baseline.id,
            unlike=without_times(options.batch, None if baseline is None else _is_batch(baseline)),
        )
    )
    gate["baseline"] = found
    return gate
