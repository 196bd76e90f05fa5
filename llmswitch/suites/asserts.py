"""A suite's assertions: from what is written to values that can be graded, with files read and templates filled in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from llmswitch.assertions import find, unknown
from llmswitch.assertions.base import Assertion
from llmswitch.assertions.rubric_prompt import rendered
from llmswitch.suites.files import SCRIPTS, Files
from llmswitch.suites.javascript import js_text
from llmswitch.suites.keys import ASSERTION
from llmswitch.suites.nodes import Node
from llmswitch.suites.providers import Providers
from llmswitch.suites.templates import BrokenTemplate, Renderer, RenderError

__all__ = ["Asserts", "is_graded", "runs_code"]

_MOST = 1000


class _FileText(str):
    """Text that stood in a file of its own: it is no template."""

    __slots__ = ()


@dataclass
class Asserts:
    """Reads and renders assertions."""

    files: Files
    providers: Providers
    renderer: Renderer
    warn: Callable[[str], None]

    def read(self, node: Node | None) -> tuple[Assertion, ...]:
        """Those of a list; faults for what cannot be taken."""
        if node is None or not node.is_a(list, "a list of assertions"):
            return ()
        if len(node.value) > _MOST:
            node.fault(f"a test has at most {_MOST} assertions, and here are {len(node.value)}.")
            return ()
        found = (self._one(one, inside=False) for one in node.each())
        return tuple(one for one in found if one is not None)

    def _one(self, node: Node, *, inside: bool) -> Assertion | None:
        if not ASSERTION.check(node, self.warn):
            return None
        written = node.find("type")
        if written is None:
            node.fault("an assertion needs a type.")
            return None
        name = written.text("an assertion's type")
        if name is None:
            return None
        negated = name.startswith("not-")
        row = find(name.removeprefix("not-"))
        if row is None:
            written.fault(unknown(name.removeprefix("not-")))
            return None
        if row.members and inside:
            written.fault("an assert-set cannot hold another one.")
            return None
        judge, rubric = node.find("provider"), node.find("rubricPrompt")
        before = node.source.faults.count
        weight, threshold = node.find("weight"), node.find("threshold")
        config, metric = node.find("config"), node.find("metric")
        assertion = Assertion(
            type=row.name,
            negated=negated,
            value=self._value(node.find("value"), code=row.code),
            threshold=threshold.number(0) if threshold else None,
            weight=_or_one(weight.number(0) if weight else None),
            metric=metric.text() if metric else None,
            judge=self.providers.judge(judge) if judge else None,
            rubric_prompt=self.rubric(rubric) if rubric else None,
            members=self._members(node) if row.members else (),
            config=config.value if config and config.is_a(dict, "a mapping") else {},
            place=node.roughly,
        )
        # where a part could not be read, what that leaves missing is no fault of its own
        fault = row.check(assertion) if node.source.faults.count == before else None
        if fault is not None:
            node.fault(fault)
        return assertion

    def _members(self, node: Node) -> tuple[Assertion, ...]:
        listed = node.find("assert")
        if listed is None or not listed.is_a(list, "a list of assertions"):
            return ()
        found = (self._one(one, inside=True) for one in listed.each())
        return tuple(one for one in found if one is not None)

    def _value(self, node: Node | None, *, code: bool) -> Any:
        if node is None:
            return None
        if isinstance(node.value, list):
            return [self._file(one, code) if _names_file(one.value) else one.value for one in node.each()]
        return self._file(node, code) if _names_file(node.value) else node.value

    def _file(self, node: Node, code: bool) -> Any:
        """What a `file://` holds: JSON and YAML as values, any other file as text, and code as where it is."""
        name, mark, function = str(node.value), "", ""
        if code:
            name, mark, function = _function(name)
        path = self.files.one(name, node)
        if path is None:
            return None
        suffix = path.suffix.lower()
        if suffix in SCRIPTS:
            if code:
                return _FileText(f"file://{path}{mark}{function}")
            node.fault("this file would have to be run: only an assertion of type python runs code.")
            return None
        if suffix in (".json", ".yaml", ".yml"):
            document = self.files.document(path, node)
            return _as_is(document.value) if document else None
        text = self.files.text(path, node)
        return None if text is None else _FileText(text.strip())

    def rubric(self, node: Node) -> Any:
        """A rubric's prompt: text, or the messages of a chat; `file://` is read. Its templates wait for the answer."""
        if not isinstance(node.value, (str, list)):
            node.fault("must be text or a list of messages.")
            return None
        found = self._file(node, code=False) if _names_file(node.value) else node.value
        try:
            rendered(found, self._checked, {})
        except BrokenTemplate as error:
            node.fault(str(error))
        return str(found) if isinstance(found, str) else found

    def _checked(self, template: str, variables: Mapping[str, Any]) -> str:
        self.renderer.check(template)
        return template

    def judged(self, assertions: tuple[Assertion, ...], judge: str | None, rubric: Any) -> tuple[Assertion, ...]:
        """Assertions with their test's judge and rubric's prompt where a model grades and they name none."""
        if judge is None and rubric is None:
            return assertions
        return tuple(
            replace(
                one,
                judge=one.judge or (judge if is_graded(one) else None),
                rubric_prompt=(rubric if is_graded(one) else None) if one.rubric_prompt is None else one.rubric_prompt,
                members=self.judged(one.members, judge, rubric),
            )
            for one in assertions
        )

    def render(
        self, assertions: tuple[Assertion, ...], values: Mapping[str, Any], missing: dict[str, None]
    ) -> tuple[Assertion, ...]:
        """Assertions with their templates filled in; a fault for each that has none. Raises RenderError."""
        return tuple(self._filled(one, values, missing) for one in assertions)

    def _filled(self, one: Assertion, values: Mapping[str, Any], missing: dict[str, None]) -> Assertion:
        try:
            return self._rendered(one, values, missing)
        except BrokenTemplate as error:
            if one.place is None:
                raise
            self.files.faults.add(one.place, str(error))
            return one

    def _rendered(self, one: Assertion, values: Mapping[str, Any], missing: dict[str, None]) -> Assertion:
        value, members = one.value, one.members
        if isinstance(value, str):
            value = self._text(value, values, missing)
            if _names_file(value) and runs_code(one) and not isinstance(one.value, _FileText):
                raise RenderError("what a variable names cannot be run as code: write the file's name as it is.")
        elif isinstance(value, list):
            value = [self._text(part, values, missing) if isinstance(part, str) else part for part in value]
        metric = self.renderer.text(one.metric, values, {}) if one.metric else one.metric
        if members:
            members = self.render(members, values, missing)
        if value is one.value and metric is one.metric and members == one.members:
            return one
        return replace(one, value=value, metric=metric, members=members)

    def _text(self, text: str, values: Mapping[str, Any], missing: dict[str, None]) -> str:
        return str(text) if isinstance(text, _FileText) else self.renderer.text(text, values, missing)


def is_graded(assertion: Assertion) -> bool:
    """Whether a model grades it."""
    row = find(assertion.type)
    return row is not None and row.graded


def runs_code(assertion: Assertion) -> bool:
    """Whether it runs what the suite brings."""
    row = find(assertion.type)
    return row is not None and row.code


def _as_is(value: Any) -> Any:
    """What a file holds, its texts marked as no templates."""
    if isinstance(value, list):
        return [_FileText(one) if isinstance(one, str) else one for one in value]
    return _FileText(value) if isinstance(value, str) else js_text(value) if isinstance(value, (int, float)) else value


def _function(name: str) -> tuple[str, str, str]:
    """`file://check.py:function` in three: file, colon, function."""
    head, colon, function = name.rpartition(":")
    return (head, colon, function) if head.endswith(".py") else (name, "", "")


def _names_file(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("file://")


def _or_one(weight: float | None) -> float:
    return 1.0 if weight is None else weight
