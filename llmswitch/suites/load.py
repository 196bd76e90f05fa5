"""Reading a suite: everything in it is checked, and every fault found, before anything is asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from llmswitch.assertions.base import Place
from llmswitch.errors import ConfigError
from llmswitch.suites.asserts import Asserts
from llmswitch.suites.cases import CaseMaker, Tally
from llmswitch.suites.files import Files
from llmswitch.suites.keys import EVALUATE, SUITE
from llmswitch.suites.model import Case, Suite, SuiteTarget
from llmswitch.suites.nodes import Faults, Node, Source
from llmswitch.suites.prompts import read_prompts
from llmswitch.suites.providers import Providers
from llmswitch.suites.references import with_environment, without_references
from llmswitch.suites.templates import Renderer
from llmswitch.suites.tests import Test, Tests, test_nodes
from llmswitch.targets import parse_target

__all__ = ["Loading", "load_suite"]

_MOST_WARNINGS = 50
#: after so many faults a suite is not gone through to its end
_ENOUGH = 1000


@dataclass(frozen=True, slots=True)
class Loading:
    """How a suite is read. `targets` (as given by -t) go in the place of the suite's providers.

    `trusted` tells whether the user trusts these very bytes at this path, `allow_files` lets files beyond the suite's
    folder be read, `environ` is what `{{env.X}}` of a trusted suite takes, `known_provider` tells whether a provider's
    name is one that can be asked.
    """

    allow_files: bool = False
    trusted: Callable[[FilePath, bytes], bool] = lambda path, content: False
    environ: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    known_provider: Callable[[str], bool] = lambda name: True


class _Warnings:
    """What was said, once each."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.kept: dict[str, None] = {}
        self._warn = warn

    def __call__(self, message: str) -> None:
        if message not in self.kept and len(self.kept) < _MOST_WARNINGS:
            self.kept[message] = None
            self._warn(message)


def load_suite(path: FilePath, *, loading: Loading, warn: Callable[[str], None] = lambda message: None) -> Suite:
    """The suite at `path`: YAML, JSON, or the tests alone in JSONL or CSV, asked as they are.

    `warn` is told what its reader should know. Raises SuiteError with every fault, ConfigError where an extra is
    missing or a target of `loading` is none.
    """
    faults, warnings = Faults(), _Warnings(warn)
    folder = FilePath(os.path.abspath(path)).parent
    files = Files(folder, os.path.dirname(str(path)), faults, loading.allow_files, loading.trusted)
    reader = _Reader(files, loading, warnings)
    try:
        suite = reader.suite(path)
    except RecursionError:
        faults.add(Place(str(path), 1, 1), "lists and mappings in it are nested too deeply.")
    faults.check()
    return suite


class _Reader:
    """One suite's reading."""

    def __init__(self, files: Files, loading: Loading, warnings: _Warnings) -> None:
        self._files, self._loading, self._warnings = files, loading, warnings
        self._renderer = Renderer()
        self._providers = Providers(files, loading.known_provider, warnings)
        self._asserts = Asserts(files, self._providers, self._renderer, warnings)
        self._tests = Tests(files, self._asserts, self._providers, warnings)

    def suite(self, path: FilePath) -> Suite:
        """All of it. Faults are kept, not raised, but those without which there is nothing to go on with."""
        root = self._root(path)
        targets = self._targets(root)
        prompts = read_prompts(root.at("prompts"), self._files, self._warnings)
        default = self._tests.default(root.find("defaultTest"), root)
        evaluate = root.find("evaluateOptions")
        if evaluate is not None and not EVALUATE.check(evaluate, self._warnings):
            evaluate = None
        filtered = not self._loading.targets
        maker = CaseMaker(prompts, targets, filtered, self._files, self._asserts, self._renderer, self._warnings)
        variables = self._providers.environment(root.find("env"))
        description = root.find("description")
        name = description.text() if description else None
        repeats, concurrency = _whole(evaluate, "repeat"), _whole(evaluate, "maxConcurrency")
        tally = self._check(root, default, maker)
        self._files.faults.check()
        return Suite(
            name=name or path.stem,
            path=str(path),
            fingerprint=tally.fingerprint,
            targets=targets,
            cases=lambda: self._again(root, default, maker),
            count=tally.count,
            asserted=tally.asserted,
            judge=default.judge,
            graded=tuple(tally.judges),
            variables=variables,
            trusted=root.source.trusted,
            repeats=repeats,
            concurrency=concurrency,
            warnings=tuple(self._warnings.kept),
            needs_judge=tally.needs_judge,
            runs_code=tally.runs_code,
        )

    def _root(self, path: FilePath) -> Node:
        """The suite as a mapping. Raises SuiteError where there is none."""
        absolute, faults = FilePath(os.path.abspath(path)), self._files.faults
        here = Source(str(path), lambda at: (1, 1), faults)
        if path.suffix.lower() in (".jsonl", ".csv"):
            tests = f"file://{absolute.name}"
            root: Node | None = Node({"prompts": "{{prompt}}", "tests": tests}, here)
        else:
            root = self._files.document(absolute, Node(str(path), here))
        if root is None or not SUITE.check(root, self._warnings):
            faults.check()
        if root is None or not isinstance(root.value, dict):
            raise ConfigError(f"{path} is no suite.")
        environ = self._loading.environ if root.source.trusted else {}
        root = with_environment(without_references(root), environ, self._refusal(root))
        return root if root.value.get("prompts") else root._replace(value={**root.value, "prompts": "{{prompt}}"})

    @staticmethod
    def _refusal(root: Node) -> Callable[[str], str]:
        def refused(name: str) -> str:
            if root.source.trusted:
                return f"env.{name} has no value: set it in the environment, or in the suite's env."
            return (
                f"env.{name} comes from your environment, and this suite is not trusted. Read it, then type "
                f"'llmswitch profiles trust {root.source.file}', or give --trust-profile for one call."
            )

        return refused

    def _targets(self, root: Node) -> tuple[SuiteTarget, ...]:
        if self._loading.targets:
            return tuple(self._given(text) for text in self._loading.targets)
        node = root.find("providers") or root.find("targets")
        if node is None:
            root.fault("names nobody to ask: give providers, or -t TARGET.")
            return ()
        if root.find("providers") and root.find("targets"):
            root.at("targets").fault("targets and providers are the same: give one of them.")
        return self._providers.targets(node)

    def _given(self, text: str) -> SuiteTarget:
        target = parse_target(text)
        if not self._loading.known_provider(target.provider):
            raise ConfigError(f"nobody is called {target.provider!r}: 'llmswitch providers' lists those there are.")
        return SuiteTarget(text, text)

    def _all(self, root: Node, default: Test) -> Iterator[Test]:
        """Every test in its order."""
        tests, scenarios = root.find("tests"), root.find("scenarios")
        for node in test_nodes(tests, self._files):
            yield self._tests.read(node, default)
        yield from self._tests.scenarios(scenarios, default)
        if tests is None and scenarios is None:
            yield default

    def _check(self, root: Node, default: Test, maker: CaseMaker) -> Tally:
        """Go through all cases once."""
        tally, faults = Tally(), self._files.faults
        maker.check_targets()
        number = 0
        for number, test in enumerate(self._all(root, default), start=1):
            maker.check_references(test)
            for case in maker.cases(number, test):
                tally.add(case)
            if faults.count > _ENOUGH:
                return tally
        if not number and not faults.count:
            (root.find("tests") or root).fault("there is no test here.")
        elif not tally.count and not faults.count:
            root.fault("no prompt is asked with any test: they leave each other out.")
        return tally

    def _again(self, root: Node, default: Test, maker: CaseMaker) -> Iterator[Case]:
        """All cases anew. Raises SuiteError where a file was changed for the worse since it was checked."""
        for number, test in enumerate(self._all(root, default), start=1):
            yield from maker.cases(number, test)
            self._files.faults.check()
        self._files.faults.check()


def _whole(node: Node | None, key: str) -> int | None:
    """A whole number of at least 1."""
    found = node.find(key) if node else None
    number: Any = found.number(1, 1_000_000) if found else None
    if found is not None and number is not None and number != int(number):
        found.fault("must be a whole number.")
    return int(number) if number is not None else None
