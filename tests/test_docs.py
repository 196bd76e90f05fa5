"""What the documents say is there."""

from __future__ import annotations

import re
from pathlib import Path

from llmswitch.cli.app import _COMMANDS
from llmswitch.types import PARAMETERS
from llmswitch.variables import VARIABLES, variable

ROOT = Path(__file__).parent.parent


def first_bash_block(heading: str) -> str:
    section = (ROOT / "README.md").read_text().split(f"## {heading}\n", 1)[1]
    block = re.search(r"```bash\n(.*?)```", section.split("\n## ", 1)[0], re.DOTALL)
    assert block is not None
    return block[1]


def test_every_variable_is_documented() -> None:
    text = (ROOT / "docs" / "profiles.md").read_text()
    missing = {name for name in VARIABLES if f"`{name}`" not in text and f"`{name}=" not in text}
    assert missing == set()


def test_the_example_and_the_profiles_hold_known_variables_and_no_secret() -> None:
    files = [ROOT / ".env.example", *sorted((ROOT / "profiles").glob("*.env"))]
    assert len(files) == 4
    for file in files:
        for line in file.read_text().splitlines():
            match = re.fullmatch(r"#?([A-Z][A-Z_]+)=(.*)", line)
            if match is None:
                assert line.startswith("# ") or not line, (file, line)
                continue
            row = variable(match[1])
            assert row is not None, (file, line)
            assert not row.secret or not match[2], (file, line)


def test_the_readme_names_every_command_and_parameter() -> None:
    text = (ROOT / "README.md").read_text() + (ROOT / "docs" / "profiles.md").read_text()
    for command in _COMMANDS:
        assert f"llmswitch {command}" in text, command
    for parameter in PARAMETERS:
        assert parameter in text


def test_the_blocks_that_scripts_run_are_one_command_each() -> None:
    start, tests = first_bash_block("Quick start"), first_bash_block("Tests")
    assert start.count("\n") == tests.count("\n") == 1
    assert re.search(r"&& \S*llmswitch ask [^&]*$", start)
    assert "pytest" in tests
