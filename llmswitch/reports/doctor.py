"""What the doctor found, in lines for people and as the document `llmswitch/doctor/1`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from llmswitch.reports.rows import count, money, seconds
from llmswitch.runs.checkup import Finding
from llmswitch.runs.doctor import Asked, Report
from llmswitch.text import one_line

__all__ = ["doctor_document", "doctor_lines", "summary"]

#: cells of the longest standing, and of a check's name where they are to stand in one column
_STANDING, _CHECK = 6, 14
#: characters of what is said
_MOST = 2000


def doctor_lines(report: Report, *, width: int | None) -> list[str]:
    """One finding a line, folded to `width` cells where one is given; what to do next stands below it."""
    return [line for finding in _all(report) for line in _lines(finding, width)]


def _all(report: Report) -> Iterable[Finding]:
    yield from report.findings
    for one in report.asked:
        spent = "" if one.cost is None else f", {money(one.cost.amount, exact=one.cost.exact)}"
        took = "" if one.duration_s is None or one.finding.standing != "ok" else f": {seconds(one.duration_s)}{spent}"
        yield one.finding._replace(check=_named(one), said=f"{one.finding.said}{took}")


def _named(one: Asked) -> str:
    return f"{one.provider}:{one.model}" if one.provider and one.model else one.target


def _lines(finding: Finding, width: int | None) -> list[str]:
    head = f"{finding.standing.ljust(_STANDING)}  {finding.check.ljust(_CHECK)}  "
    below = " " * (_STANDING + 2)
    # what a vendor said must not look like a finding of its own
    texts = [head + one_line(finding.said, _MOST)]
    texts += [f"{below}-> {one_line(finding.todo, _MOST)}"] if finding.todo else []
    if width is None:
        return texts
    indents = (" " * len(head) if len(head) < width // 2 else below, f"{below}   ")
    folded = []
    for text, indent in zip(texts, indents, strict=False):
        # whoever copies a path or a command from here needs it whole
        folded += textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return folded


def summary(report: Report) -> str:
    """How it went, in one line."""
    standings = [finding.standing for finding in _all(report)]
    wrong, failed = standings.count("wrong"), standings.count("failed")
    parts = []
    if wrong:
        parts.append(f"{count(wrong)} thing{'s are' if wrong > 1 else ' is'} wrong in the configuration")
    if failed:
        parts.append(f"{count(failed)} cannot be used now")
    told = " and ".join(parts) or ("all is well" if report.sent else "nothing is wrong; nobody was asked")
    cost = _cost(report)
    if cost is None:
        return f"{told}."
    least = any(one.cost is None for one in _answered(report))
    exact = all(one.cost.exact for one in _answered(report) if one.cost is not None)
    return f"{told}; asking cost {'at least ' if least else ''}{money(cost, exact=exact or least)}."


def _answered(report: Report) -> list[Asked]:
    return [one for one in report.asked if one.status == 200]


def _cost(report: Report) -> Decimal | None:
    """What is known of it, together."""
    known = [one.cost.amount for one in report.asked if one.cost is not None]
    return sum(known, Decimal()) if known else None


def doctor_document(report: Report) -> dict[str, Any]:
    """`doctor --json`; times in seconds, money in USD as text, unknown is null."""
    cost = _cost(report)
    return {
        "schema": "llmswitch/doctor/1",
        "ok": report.exit_code == 0,
        "sent": report.sent,
        "checks": [{"check": finding.check, **_finding(finding)} for finding in report.findings],
        "providers": [
            {
                "target": one.target,
                "provider": one.provider,
                "model": one.model,
                "base_url": one.base_url,
                **_finding(one.finding),
                "problem": one.problem,
                "status": one.status,
                "duration_s": one.duration_s,
                "cost": None
                if one.cost is None
                else {"amount": format(one.cost.amount, "f"), "currency": "USD", "exact": one.cost.exact},
            }
            for one in report.asked
        ],
        "cost": None
        if cost is None
        else {
            "amount": format(cost, "f"),
            "currency": "USD",
            "exact": all(one.cost is not None and one.cost.exact for one in _answered(report)),
        },
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {"standing": finding.standing, "message": finding.said, "next": finding.todo}
