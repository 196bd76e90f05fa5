"""A run as JUnit XML, for what shows the results of tests: https://github.com/jenkinsci/xunit-plugin, junit-10.xsd.

A target is a test suite, and each asking of a case one of its tests: failed where an assertion did, an error where
the call or its judge did. The gate's checks are a suite of their own. Each target's tests wait in a file of their own
until all rows were seen, since the numbers of them stand before them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from tempfile import SpooledTemporaryFile
from typing import Any, NamedTuple, TextIO
from xml.sax.saxutils import escape

from llmswitch.reports.bench_figures import by_batch
from llmswitch.reports.bench_headline import NO_LATENCY, load_words
from llmswitch.reports.bench_samples import cut, ending
from llmswitch.runs.bench.document import CheckDocument, RunDocument
from llmswitch.runs.bench.model import Rows, SampleRow
from llmswitch.text import one_line

__all__ = ["write_junit"]

#: what XML 1.0 has no way to write, entities included; https://www.w3.org/TR/xml/#NT-Char
_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: characters of a prompt or an answer that are kept
_LONGEST = 4000
#: bytes of a target's tests that are held in memory
_IN_MEMORY = 1 << 20


class _Counts:
    """How a suite's tests ended, and how many seconds they took."""

    def __init__(self) -> None:
        self.tests = self.failures = self.errors = self.skipped = 0
        self.time = 0.0


class _Test(NamedTuple):
    """One test as XML, and how it ended: the name of a counter, or nothing where it passed."""

    xml: str
    end: str = ""
    seconds: float = 0.0


def write_junit(document: RunDocument, rows: Rows, stream: TextIO) -> None:
    """The whole document, in UTF-8 if `stream` is. No row is kept in memory."""
    classname = _name(document["suite"])
    with ExitStack() as stack:
        kept = {target["target"]: (_Counts(), stack.enter_context(_waiting())) for target in document["targets"]}
        for row in rows():
            if row.target in kept:
                counts, file = kept[row.target]
                file.write(_counted(_test(row, classname), counts))
        stream.write('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n')
        for number, (target, (counts, file)) in enumerate(kept.items()):
            stream.write(_opening(document, target, counts, number))
            stream.write(_properties(document, target))
            file.seek(0)
            shutil.copyfileobj(file, stream)
            stream.write("</testsuite>\n")
        stream.writelines(_gate(document, classname, len(kept)))
        stream.write("</testsuites>\n")


def _waiting() -> SpooledTemporaryFile[str]:
    return SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8", newline="")


def _counted(test: _Test, counts: _Counts) -> str:
    counts.tests += 1
    counts.time += test.seconds
    if test.end:
        setattr(counts, test.end, getattr(counts, test.end) + 1)
    return test.xml


def _opening(document: RunDocument, name: str, counts: _Counts, number: int) -> str:
    return (
        f'<testsuite name={_attribute(name)} id="{number}" tests="{counts.tests}" failures="{counts.failures}" '
        f'errors="{counts.errors}" skipped="{counts.skipped}"{_time(None if by_batch(document) else counts.time)} '
        f"timestamp={_attribute(document['started_at'])}>\n"
    )


def _properties(document: RunDocument, name: str) -> str:
    (target,) = (found for found in document["targets"] if found["target"] == name)
    facts = {
        "run": document["id"],
        "provider": target["provider"],
        "request_model": target["request_model"],
        "base_url": target["base_url"],
        "load": load_words(document),
        **({"batch": NO_LATENCY} if by_batch(document) else {}),
        **{f"parameter.{key}": str(value) for key, value in target["parameters"].items()},
    }
    lines = (f"<property name={_attribute(key)} value={_attribute(value)}/>\n" for key, value in facts.items())
    return f"<properties>\n{''.join(lines)}</properties>\n"


def _test(row: SampleRow, classname: str) -> _Test:
    seconds = row.duration_s or 0.0
    name = f"{row.case} #{row.repeat + 1}" + (f" {row.description}" if row.description else "")
    opening = (
        f"<testcase classname={_attribute(f'{classname}.{row.target}')} name={_attribute(name)}{_time(row.duration_s)}"
    )
    found = ending(row)
    if found.kind not in _ENDS:
        return _Test(f"{opening}/>\n", seconds=seconds)
    end, element = _ENDS[found.kind]
    return _Test(f"{opening}>{_told(element, found.what, found.why)}{_output(row)}</testcase>\n", end, seconds)


#: how a sample ended -> what it counts as, and the element that says so
_ENDS: Mapping[str, tuple[str, str]] = {"fail": ("failures", "failure"), "error": ("errors", "error")}


def _told(element: str, kind: str, message: str) -> str:
    first = one_line(message, 300)
    return f"<{element} type={_attribute(kind)} message={_attribute(first)}>{_text(cut(message, _LONGEST))}</{element}>"


def _output(row: SampleRow) -> str:
    """What was asked and answered, of a test that did not pass."""
    said = f"Prompt:\n{cut(row.prompt, _LONGEST)}"
    if row.text is not None:
        said += f"\n\nAnswer:\n{cut(row.text, _LONGEST)}"
    return f"<system-out>{_text(said)}</system-out>"


def _gate(document: RunDocument, classname: str, number: int) -> Iterator[str]:
    gate, counts = document["gate"], _Counts()
    tests = [_counted(_check(check, classname), counts) for check in gate["checks"]]
    if tests:
        yield _opening(document, "gate", counts, number)
        yield from tests
        yield "</testsuite>\n"


#: a check's verdict -> what it counts as, and the element that says so; one that passed has none
_CHECKS: Mapping[str, tuple[str, str]] = {"fail": ("failures", "failure"), "pass": ("", "")}


def _check(check: CheckDocument, classname: str) -> _Test:
    end, element = _CHECKS.get(check["verdict"], ("skipped", "skipped"))
    name = f"{check['rule']} {check['target']}"
    opening = f"<testcase classname={_attribute(f'{classname}.gate')} name={_attribute(name)}"
    told: dict[str, Any] = {
        "": "",
        "failure": _told("failure", check["verdict"], check["reason"]),
        "skipped": f"<skipped>{_text(check['verdict'] + ': ' + check['reason'])}</skipped>",
    }
    return _Test(f'{opening} time="0.000">{told[element]}</testcase>\n', end)


def _time(seconds: float | None) -> str:
    """The attribute, nothing where no time is known."""
    return "" if seconds is None else f' time="{seconds:.3f}"'


def _name(text: str) -> str:
    """A suite's name as the first part of a class's: a dot would begin another."""
    return one_line(text, 200).replace(".", "_")


def _attribute(text: str) -> str:
    return f'"{escape(_FORBIDDEN.sub("", one_line(text, 2000)), {chr(34): "&quot;"})}"'


def _text(text: str) -> str:
    """`]]>` must not stand in text, and does not with its bracket escaped."""
    return escape(_FORBIDDEN.sub("", text))
