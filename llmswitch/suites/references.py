"""What a suite's file says of itself: `$ref`s to other places in it, and `{{env.X}}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from llmswitch.suites.nodes import Node, Path, Source
from llmswitch.suites.templates import Renderer, RenderError

__all__ = ["with_environment", "without_references"]

#: how many values all references of a file may stand for
_MOST = 100_000
_ENV = re.compile(r"\{\{(?:[^{}]|\}(?!\})){0,2000}\}\}")
_NAME = re.compile(r"""\benv\.(\w{1,200})|\benv\[['"]([^'"]{1,200})['"]\]""")


def without_references(root: Node) -> Node:
    """`root` with what each `{"$ref": "#/…"}` points to in its place; other keys beside it go before."""
    work = _References(root)
    value = work.expanded(root.value, (), ())
    if not work.used:
        return root
    return Node(value, root.source._replace(locate=work.located))


class _References:
    def __init__(self, root: Node) -> None:
        self._root = root
        self._size = 0
        self.used = False

    def expanded(self, value: Any, path: Path, following: tuple[Path, ...]) -> Any:
        """`value` without references; one that leads back to itself is a fault and stands for nothing."""
        self._size += bool(following)
        if self._size > _MOST:
            return None
        if isinstance(value, list):
            return [self.expanded(one, (*path, index), following) for index, one in enumerate(value)]
        if not isinstance(value, dict):
            return value
        own = {key: self.expanded(one, (*path, key), following) for key, one in value.items()}
        return self._referred(value, own, path, following) if isinstance(value.get("$ref"), str) else own

    def _referred(self, value: dict[str, Any], own: dict[str, Any], path: Path, following: tuple[Path, ...]) -> Any:
        """What a mapping with a reference stands for, `own` being its other keys."""
        self.used = True
        pointer = own.pop("$ref")
        target = _path(pointer)
        here = Node(value, self._root.source, path)
        found, there = _at(self._root.value, target) if target is not None else (None, False)
        if target is None or not there:
            here.fault(f"$ref {pointer[:80]!r} points to nothing in this file, such as '#/assertionTemplates/name'.")
            return own
        if target in following or path[: len(target)] == target:
            here.fault(f"$ref {pointer[:80]!r} leads back to itself.")
            return own
        found = self.expanded(found, target, (*following, target))
        if self._size > _MOST:
            here.fault(f"the references of this file stand for over {_MOST:,} values.")
        return {**found, **own} if isinstance(found, dict) else own or found

    def located(self, path: Path) -> tuple[int, int]:
        """Where a path of the expanded value stands in the file."""
        real: Path = ()
        value = self._root.value
        for key in path:
            for _ in range(50):
                if not (isinstance(value, dict) and isinstance(value.get("$ref"), str) and key not in value):
                    break
                real = _path(value["$ref"]) or real
                value, _ = _at(self._root.value, real)
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                break
            real = (*real, key)
        return self._root.source.locate(real)


def _path(pointer: str) -> Path | None:
    """The path of a JSON pointer into this file; None where it is none."""
    if not pointer.startswith("#/"):
        return None
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer[2:].split("/"))


def _at(value: Any, path: Path) -> tuple[Any, bool]:
    """What `path` leads to, and whether it leads anywhere."""
    for key in path:
        if isinstance(value, list) and str(key).isdecimal() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return None, False
    return value, True


def with_environment(root: Node, environ: Mapping[str, str], refuse: Callable[[str], str]) -> Node:
    """`root` with each `{{…env.X…}}` in it filled in, from the suite's own `env` and then `environ`.

    Only the suite's own file is looked at: a file of tests could otherwise put any of the user's secrets into a prompt.
    `refuse` gives the message for a name that neither has.
    """
    own = root.value.get("env") if isinstance(root.value, dict) else None
    given = (
        {str(k): str(v) for k, v in own.items() if isinstance(v, (str, int, float))} if isinstance(own, dict) else {}
    )
    renderer = Renderer()

    def filled(value: Any, path: Path, known: Mapping[str, str], source: Source) -> Any:
        if isinstance(value, list):
            return [filled(one, (*path, index), known, source) for index, one in enumerate(value)]
        if isinstance(value, dict):
            return {key: filled(one, (*path, key), known, source) for key, one in value.items()}
        if not isinstance(value, str) or "env" not in value or "{{" not in value:
            return value

        def one(match: re.Match[str]) -> str:
            names = [name or other for name, other in _NAME.findall(match[0])]
            unknown = [name for name in names if name not in known]
            if unknown and "default" not in match[0]:
                Node(value, source, path).fault(refuse(unknown[0]))
            if not names or unknown:
                return match[0] if not names else ""
            try:
                return renderer.text(match[0], {"env": dict(known)}, {})
            except RenderError as error:
                Node(value, source, path).fault(str(error))
                return ""

        return _ENV.sub(one, value)

    # an env's own values see the process's environment alone, as in promptfoo
    if given:
        given = filled(given, ("env",), environ, root.source)
    return root._replace(value=filled(root.value, (), {**environ, **given}, root.source))
