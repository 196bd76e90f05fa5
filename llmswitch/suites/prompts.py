"""A suite's prompts: texts, files with one or several, and which of them a label stands for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path as FilePath
from typing import NamedTuple

from llmswitch.assertions.base import Place
from llmswitch.suites.files import SCRIPTS, Files, is_pattern
from llmswitch.suites.javascript import js_json
from llmswitch.suites.json_text import JsonError, parse_json
from llmswitch.suites.keys import PROMPT
from llmswitch.suites.nodes import Node
from llmswitch.suites.rows import csv_rows

__all__ = ["Prompt", "matches", "read_prompts"]

_DELIMITER = "---"
_TEXTS = (".txt", ".md", ".j2", ".json", ".jsonl", ".yaml", ".yml", ".csv", *SCRIPTS)
_ELSEWHERE = re.compile(r"(?:portkey|langfuse|helicone|exec|package):")


class Prompt(NamedTuple):
    """A template; `number` counts from 1."""

    number: int
    raw: str
    label: str
    place: Place
    id: str | None = None


def matches(reference: str, *called: str | None) -> bool:
    """Whether `reference` means something with one of these names: the name itself, `start*`, or a group before ':'."""
    start = reference[:-1] if reference.endswith("*") else f"{reference}:"
    return any(name is not None and (name == reference or name.startswith(start)) for name in called)


def read_prompts(node: Node, files: Files, warn: Callable[[str], None]) -> tuple[Prompt, ...]:
    """All prompts in their order; faults where one cannot be read."""
    found: list[tuple[str, str, Node, str | None]] = []
    for item, label in _listed(node, warn):
        raw, named = item.value, item
        prompt_id = None
        if isinstance(raw, dict):
            text = item.find("raw") or item.find("id")
            prompt_id = item.value.get("id") if isinstance(item.value.get("id"), str) else None
            raw, named = (text.text("a prompt's text"), text) if text else (None, item)
            if text is None:
                item.fault("a prompt needs a raw text, or an id that names its file.")
        if not isinstance(raw, str):
            continue
        found += [(one, shown, named, prompt_id) for one, shown in _read(raw, label, named, files)]
    if not found and not files.faults.count:
        node.fault("there is no prompt here.")
    for raw, _, named, _ in found:
        if "_conversation" in raw:
            named.fault("_conversation cannot be taken: each case is asked on its own.")
    return tuple(
        Prompt(number, raw, label, named.place, prompt_id)
        for number, (raw, label, named, prompt_id) in enumerate(found, start=1)
    )


def _listed(node: Node, warn: Callable[[str], None]) -> Iterable[tuple[Node, str | None]]:
    """Each prompt as it was written, and the label that it was given."""
    if isinstance(node.value, str):
        yield node, None
    elif isinstance(node.value, list):
        for item in node.each():
            if isinstance(item.value, dict) and PROMPT.check(item, warn):
                label = item.find("label")
                yield item, label.text() if label else None
            elif item.is_a((str, dict), "a prompt's text, or a mapping with raw and label"):
                yield item, None
    elif node.is_a(dict, "a prompt, or a list of them"):
        for path, label in node.items():
            yield Node(path, node.source, label.path), label.text("a label")


def _read(raw: str, label: str | None, node: Node, files: Files) -> list[tuple[str, str]]:
    if _ELSEWHERE.match(raw):
        node.fault(f"the prompt {raw[:60]!r} cannot be taken: it comes from elsewhere, or out of a program.")
        return []
    if not _names_file(raw, files):
        return [(raw, label or raw)]
    found: list[tuple[str, str]] = []
    for path in files.find(raw, node):
        read = _from_file(path, label, node, files)
        if not read and not files.faults.count:
            node.fault(f"there is no prompt in {files.name(path)}.")
        found += read
    return found


def _names_file(raw: str, files: Files) -> bool:
    """Whether a prompt is the name of a file: `file://…`, or one line with a file's ending and no tag or blank in it,
    or any name of a file that is there."""
    if raw.startswith("file://"):
        return True
    if "\n" in raw or "{" in raw or len(raw) > 500 or "\0" in raw:
        return False
    if raw.endswith(_TEXTS) and not any(mark.isspace() for mark in raw):
        return True
    try:
        if is_pattern(raw) and "/" in raw and not raw.startswith("/"):
            return next(iter(files.folder.glob(raw)), None) is not None
        return ("/" in raw or raw.endswith(_TEXTS)) and (files.folder / raw).is_file()
    except (OSError, ValueError, NotImplementedError, IndexError):
        return False


def _from_file(path: FilePath, label: str | None, node: Node, files: Files) -> list[tuple[str, str]]:
    suffix, name = path.suffix.lower(), files.name(path)
    if suffix in SCRIPTS:
        node.fault(f"the prompt {name} cannot be taken: it would have to be run.")
        return []
    if suffix == ".csv":
        rows = [row for row, _ in csv_rows(files, path, node)]
        several = [(row["prompt"].strip(), row.get("label")) for row in rows if row.get("prompt", "").strip()]
        return [(raw, own or label or f"Prompt {number} - {raw}") for number, (raw, own) in enumerate(several, start=1)]
    text = files.text(path, node)
    if text is None:
        return []
    found = _BY_ENDING.get(suffix, _parts)(text, name, files)
    return [(raw, label if label and len(found) == 1 else f"{label or name}: {raw}") for raw in found]


def _of_yaml(text: str, name: str, files: Files) -> list[str]:
    document = files.parsed(text, name, json=False, trusted=False)
    return [js_json(document.value)] if document else []


def _of_json(text: str, name: str, files: Files) -> list[str]:
    try:
        return [js_json(parse_json(text))]
    except JsonError:
        return [text]  # a template around JSON: what comes out of it may be JSON


def _parts(text: str, name: str, files: Files) -> list[str]:
    """The prompts of a text file, parted by lines of '---'."""
    parts: list[list[str]] = [[]]
    for line in re.split(r"\r?\n", text):
        if line.strip() == _DELIMITER:
            parts.append([])
        else:
            parts[-1].append(line)
    joined = ("\n".join(part).strip() for part in parts)
    return [part for part in joined if part]


#: how a file's prompts are found in its text, where it is not by lines of '---'
_BY_ENDING: Mapping[str, Callable[[str, str, Files], list[str]]] = {
    ".yaml": _of_yaml,
    ".yml": _of_yaml,
    ".json": _of_json,
    ".jsonl": lambda text, name, files: [line for line in text.splitlines() if line],
    ".md": lambda text, name, files: [text],
    ".j2": lambda text, name, files: [text],
}
