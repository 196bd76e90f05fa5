"""Cases: every prompt with every test, rendered one after another, so that none of them need be kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmswitch.assertions.base import Assertion
from llmswitch.suites.asserts import Asserts, is_graded, runs_code
from llmswitch.suites.chat import conversation
from llmswitch.suites.files import Files
from llmswitch.suites.model import Case, SuiteTarget
from llmswitch.suites.nodes import Node
from llmswitch.suites.prompts import Prompt, matches
from llmswitch.suites.templates import BrokenTemplate, Renderer, RenderError
from llmswitch.suites.tests import Test
from llmswitch.suites.values import combinations

__all__ = ["CaseMaker", "Tally"]


@dataclass
class CaseMaker:
    """Makes a test's cases. `filtered` tells whether the suite's own providers are asked, so that references count."""

    prompts: tuple[Prompt, ...]
    targets: tuple[SuiteTarget, ...]
    filtered: bool
    files: Files
    asserts: Asserts
    renderer: Renderer
    warn: Callable[[str], None]
    _missing: set[str] = field(default_factory=set)
    _told: bool = False

    def cases(self, number: int, test: Test) -> Iterator[Case]:
        """The cases of test `number`, from 1; faults for what cannot be rendered."""
        prompts = [one for one in self.prompts if self._wanted(test, one)]
        allowed = {one.number: self._allowed(test, one) for one in prompts}
        assertions = self.asserts.judged(test.assertions, test.judge, test.rubric)
        count, rows = combinations(test.vars, self.files, expand=test.expand)
        for index, row in enumerate(rows, start=1):
            missing: dict[str, None] = {}
            try:
                values = self.renderer.resolved(row)
                rendered = self.asserts.render(assertions, values, missing)
            except RenderError as error:
                test.node.fault(str(error))
                continue
            for prompt in prompts:
                asked = self._prompt(test, prompt, values, missing)
                if asked is not None:
                    yield Case(
                        id=f"{prompt.number}.{number}.{index}" if count > 1 else f"{prompt.number}.{number}",
                        **asked,
                        prompt_label=prompt.label,
                        description=test.description,
                        vars=values,
                        assertions=rendered,
                        threshold=test.threshold,
                        targets=allowed[prompt.number],
                        tasks=test.tasks,
                    )
            self._tell(missing, test.node)

    def _prompt(
        self, test: Test, prompt: Prompt, values: Mapping[str, Any], missing: dict[str, None]
    ) -> dict[str, Any] | None:
        """What of a case is sent; None and a fault where that cannot be rendered."""
        try:
            text = self.renderer.prompt(f"{test.prefix}{prompt.raw}{test.suffix}", values, missing)
            system, messages = conversation(text)
        except BrokenTemplate as error:
            own = not test.prefix and not test.suffix
            self.files.faults.add(prompt.place if own else test.node.place, str(error))
        except RenderError as error:
            test.node.fault(str(error))
        else:
            return {"prompt": text, "system": system, "messages": messages}
        return None

    def _tell(self, missing: Mapping[str, None], node: Node) -> None:
        for name in missing:
            if name not in self._missing:
                self._missing.add(name)
                self.warn(f"{node.place}: the variable {name!r} has no value here: it is left empty.")

    def _wanted(self, test: Test, prompt: Prompt) -> bool:
        return test.prompts is None or any(matches(one, prompt.label, prompt.id) for one in test.prompts)

    def _allowed(self, test: Test, prompt: Prompt) -> tuple[str, ...] | None:
        """The labels of those that are asked; None for all."""
        if not self.filtered:
            return None
        labels = tuple(
            target.label
            for target in self.targets
            if (target.prompts is None or any(matches(one, prompt.label, prompt.id) for one in target.prompts))
            and (
                test.targets is None or any(matches(one, target.label, target.id, target.text) for one in test.targets)
            )
        )
        return None if len(labels) == len(self.targets) else labels

    def check_targets(self) -> None:
        """Faults for targets that are asked nothing."""
        for target in self.targets if self.filtered else ():
            for one in target.prompts or ():
                if target.place and not any(matches(one, prompt.label, prompt.id) for prompt in self.prompts):
                    self.files.faults.add(target.place, f"there is no prompt {one[:80]!r}.")

    def check_references(self, test: Test) -> None:
        """Faults for names that stand for nothing."""
        for one in test.prompts or ():
            if not any(matches(one, prompt.label, prompt.id) for prompt in self.prompts):
                test.node.fault(f"there is no prompt {one[:80]!r}.")
        if test.targets and not self.filtered and not self._told:
            self._told = True
            self.warn(
                f"{test.node.place}: -t names whom to ask, so that what tests say in providers counts for nothing."
            )
        for one in (test.targets or ()) if self.filtered else ():
            if not any(matches(one, target.label, target.id, target.text) for target in self.targets):
                test.node.fault(f"there is no provider {one[:80]!r} in this suite.")


@dataclass
class Tally:
    """What is known of all cases once they were gone through."""

    count: int = 0
    asserted: bool = False
    needs_judge: bool = False
    runs_code: bool = False
    judges: dict[str, None] = field(default_factory=dict)
    _digest: Any = field(default_factory=hashlib.sha256)

    def add(self, case: Case) -> None:
        """Count a case in."""
        self.count += 1
        self.asserted = self.asserted or bool(case.assertions)
        self._ask(case.assertions)
        told = [case.id, case.prompt, case.vars, case.threshold, [_told(one) for one in case.assertions]]
        self._digest.update(json.dumps(told, sort_keys=True, default=str).encode() + b"\n")

    def _ask(self, assertions: tuple[Assertion, ...]) -> None:
        for one in assertions:
            if one.members:
                self._ask(one.members)
            elif runs_code(one):
                self.runs_code = True
            elif is_graded(one) and one.judge is None:
                self.needs_judge = True
            elif one.judge is not None and is_graded(one):
                self.judges[one.judge] = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what is asked and how it is graded."""
        digest: str = self._digest.hexdigest()
        return digest


def _told(one: Assertion) -> list[Any]:
    """What of an assertion decides a verdict."""
    judged = (one.judge, one.rubric_prompt, dict(one.config), [_told(member) for member in one.members])
    return [one.name, one.value, one.threshold, one.weight, *judged]
