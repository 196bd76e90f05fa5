"""A suite's tests, from wherever they stand, one after another; and each of them with what it has from the default."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from llmswitch.assertions.base import Assertion
from llmswitch.suites.asserts import Asserts
from llmswitch.suites.files import SCRIPTS, Files
from llmswitch.suites.keys import OPTIONS, SCENARIO, TEST
from llmswitch.suites.nodes import Node
from llmswitch.suites.providers import Providers
from llmswitch.suites.rows import csv_tests, json_lines

__all__ = ["Test", "Tests", "test_nodes"]

_ELSEWHERE = ("http://", "https://", "huggingface://", "az://", "package:", "s3://")


class Test(NamedTuple):
    """One test, its templates not yet filled in. `targets` and `prompts` are references, None for all."""

    node: Node
    vars: Mapping[str, Node]
    assertions: tuple[Assertion, ...]
    threshold: float | None = None
    prefix: str = ""
    suffix: str = ""
    description: str | None = None
    targets: tuple[str, ...] | None = None
    prompts: tuple[str, ...] | None = None
    expand: bool = True
    judge: str | None = None
    rubric: Any = None
    plain: bool = False
    tasks: tuple[str, ...] = ()


def test_nodes(node: Node | None, files: Files) -> Iterator[Node]:
    """Each test under `node`: tests, names of files and patterns, or lists of those."""
    if node is None:
        return
    if isinstance(node.value, str):
        yield from _of_files(node, files)
    elif isinstance(node.value, list):
        for one in node.each():
            if isinstance(one.value, str):
                yield from _of_files(one, files)
            else:
                yield from _of_generator(one, files)
    else:
        yield from _of_generator(node, files)


def _of_generator(node: Node, files: Files) -> Iterator[Node]:
    """A test itself, or promptfoo's `{path, config}`, which is a file like any other unless it has to be run."""
    path = node.find("path")
    if path is None or not isinstance(path.value, str):
        yield node
    else:
        yield from _of_files(path, files)


def _of_files(node: Node, files: Files) -> Iterator[Node]:
    name = str(node.value)
    if name.startswith(_ELSEWHERE):
        node.fault(f"the tests {name[:80]!r} cannot be taken: only files are read.")
        return
    if any(f"{script}:" in name or name.endswith(script) for script in SCRIPTS):
        node.fault(f"the tests {name[:80]!r} cannot be taken: they would have to be run.")
        return
    for path in files.find(name, node):
        yield from tests_of_file(path, node, files)


def tests_of_file(path: FilePath, node: Node, files: Files) -> Iterator[Node]:
    """The tests of one file, by its ending."""
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        yield from json_lines(files, path, node)
    elif suffix == ".csv":
        yield from csv_tests(files, path, node)
    elif suffix in (".json", ".yaml", ".yml"):
        document = files.document(path, node)
        if document is not None and document.value is not None:
            yield from document.each() if isinstance(document.value, list) else iter((document,))
    else:
        node.fault(f"tests cannot be read from {files.name(path)}: write YAML, JSON, JSONL or CSV.")


@dataclass
class Tests:
    """Reads tests: what is written in them, over what the suite's `defaultTest` says."""

    files: Files
    asserts: Asserts
    providers: Providers
    warn: Callable[[str], None]

    def default(self, node: Node | None, empty: Node) -> Test:
        """The `defaultTest`, or one in which nothing is said."""
        node = self._loaded(node)
        return self.read(node, None) if node is not None else Test(empty, {}, ())

    def read(self, node: Node, default: Test | None) -> Test:
        """A test with what it has from `default`; faults for what cannot be taken."""
        base = default or Test(node, {}, ())
        if not TEST.check(node, self.warn):
            return base._replace(node=node)
        options = node.find("options")
        if options is not None and not OPTIONS.check(options, self.warn):
            options = None
        base = self._options(base, options)
        threshold, description = node.find("threshold"), node.find("description")
        own = self.asserts.read(node.find("assert"))
        return base._replace(
            node=node,
            vars={**base.vars, **self._vars(node.find("vars"))},
            assertions=(*(() if base.plain else base.assertions), *own),
            threshold=threshold.number(0, 1) if threshold else base.threshold,
            description=description.text() if description else None,
            targets=_references(node.find("providers")) or base.targets,
            prompts=_references(node.find("prompts")) or base.prompts,
            tasks=_tasks(node.find("metadata")) or base.tasks,
        )

    def _options(self, base: Test, options: Node | None) -> Test:
        if options is None:
            return base
        prefix, suffix = options.find("prefix"), options.find("suffix")
        judge, rubric = options.find("provider"), options.find("rubricPrompt")
        return base._replace(
            prefix=(prefix.text() if prefix else "") or base.prefix,
            suffix=(suffix.text() if suffix else "") or base.suffix,
            judge=self.providers.judge(judge) if judge else base.judge,
            rubric=self.asserts.rubric(rubric) if rubric else base.rubric,
            expand=base.expand and options.value.get("disableVarExpansion") is not True,
            plain=options.value.get("disableDefaultAsserts") is True,
        )

    def _vars(self, node: Node | None) -> dict[str, Node]:
        if node is None:
            return {}
        if isinstance(node.value, (str, list)):
            names = list(node.each()) if isinstance(node.value, list) else [node]
            found: dict[str, Node] = {}
            for one in names:
                if one.is_a(str, "a file of variables"):
                    for path in self.files.find(one.value, one):
                        found.update(self._vars_of(self.files.document(path, one)))
            return found
        return self._vars_of(node)

    @staticmethod
    def _vars_of(node: Node | None) -> dict[str, Node]:
        if node is None or not node.is_a(dict, "a mapping of names to values"):
            return {}
        return dict(node.items())

    def scenarios(self, node: Node | None, default: Test) -> Iterator[Test]:
        """The tests of scenarios: each of a scenario's with each of its configurations."""
        node = self._loaded(node)
        if node is None or not node.is_a(list, "a list of scenarios"):
            return
        for one in node.each():
            scenario = self._loaded(one)
            if scenario is None or not SCENARIO.check(scenario, self.warn):
                continue
            config = scenario.find("config")
            if config is None or not config.is_a(list, "a list of tests' beginnings"):
                scenario.fault("a scenario needs config, a list of what its tests have in common.")
                continue
            for data in config.each():
                common = self.read(data, default)
                if scenario.find("tests") is None:
                    yield common
                for test in test_nodes(scenario.find("tests"), self.files):
                    yield self.read(test, common)

    def _loaded(self, node: Node | None) -> Node | None:
        """`node`, or what is in the file that it names; None and a fault where that cannot be read."""
        if node is None or not isinstance(node.value, str):
            return node
        path = self.files.one(node.value, node)
        return self.files.document(path, node) if path else None


def _tasks(metadata: Node | None) -> tuple[str, ...]:
    """What `metadata: {task: …}` names, one task or a list of them; the rest of it is the suite's own business."""
    node = metadata.find("task") if metadata is not None and isinstance(metadata.value, dict) else None
    if node is None:
        return ()
    named = [one.text("a task's name") for one in (node.each() if isinstance(node.value, list) else (node,))]
    return tuple(dict.fromkeys(name for name in named if name))


def _references(node: Node | None) -> tuple[str, ...] | None:
    if node is None or not node.is_a(list, "a list of names"):
        return None
    return tuple(one.value for one in node.each() if one.is_a(str, "a name"))
