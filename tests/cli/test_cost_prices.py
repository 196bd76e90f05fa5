"""`llmswitch cost prices`, as it is installed."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import fill, row, run
from tests.pricelists import as_published, changed
from tests.servers.recorder import Answer, Recorder


@pytest.fixture(scope="module")
def published() -> bytes:
    """The packaged list with a cheaper gpt-4o, as it would be fetched."""
    return json.dumps(changed(as_published(), "openai", "gpt-4o", {"input_mtok": 1, "output_mtok": 2})).encode()


@pytest.fixture
def server(published: bytes) -> Iterator[Recorder]:
    with Recorder(Answer(published)) as recorder:
        yield recorder


def prices(home: Path, *arguments: str, **environ: str) -> Any:
    done = run(home, "cost", "prices", *arguments, "--json", **environ)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def one(home: Path, name: str, **environ: str) -> dict[str, Any]:
    (found,) = prices(home, name, **environ)["rows"]
    assert isinstance(found, dict)
    return found


def test_a_models_rates_steps_batch_tiers_and_window_are_shown(home: Path) -> None:
    found = one(home, "openai:gpt-6-luna")
    assert found["rates"] == {
        "input": "0.10",
        "output": "0.50",
        "cache_read": "0.01",
        "cache_creation": "0.125",
        "steps": [
            {
                "above_input_tokens": 272000,
                "input": "0.20",
                "output": "0.75",
                "cache_read": "0.02",
                "cache_creation": "0.25",
            }
        ],
    }
    assert (found["batch"]["input"], found["batch"]["output"]) == ("0.05", "0.25")
    assert set(found["tiers"]) == {"flex", "priority", "fast"}
    assert (found["context_window"], found["max_output_tokens"], found["exact"]) == (1050000, None, True)
    assert found["source"].startswith("genai-prices ")


def test_an_azure_model_has_openais_rates_but_not_its_batches_and_is_not_exact(home: Path) -> None:
    found = one(home, "azure:gpt-4o")
    assert (found["rates"]["input"], found["batch"], found["tiers"], found["exact"]) == ("2.50", None, {}, False)


def test_a_model_alone_is_looked_up_with_every_vendor_that_lists_it(home: Path) -> None:
    found = prices(home, "gpt-4o", "claude-opus-5-5")["rows"]
    names = [f"{row['provider']}:{row['model']}" for row in found]
    assert "openai:gpt-4o" in names
    assert "anthropic:claude-opus-5-5" in names
    assert "azure:gpt-4o" not in names


def test_a_name_that_nobody_knows_suggests_one(home: Path) -> None:
    done = run(home, "cost", "prices", "gpt-4oo")
    assert done.returncode == 2
    assert "Did you mean 'gpt-4o'?" in done.stderr


def test_a_model_that_the_list_lacks_is_unknown_and_never_0(home: Path) -> None:
    assert one(home, "openai:gpt-99")["rates"] is None
    done = run(home, "cost", "prices", "openai:gpt-99", "gemini:gemma-3-27b-it")
    assert [line.split()[1] for line in done.stdout.splitlines()[1:]] == ["–", "–"]
    assert "LLM_PRICES" in done.stderr


def test_without_a_name_it_shows_what_is_configured_and_what_was_asked(home: Path) -> None:
    fill(home, row(provider="anthropic", model="claude-opus-5-5"), row(provider="team", model="own"))
    found = prices(home, OPENAI_API_KEY="k", OPENAI_MODEL="gpt-4o-mini")["rows"]
    names = {f"{row['provider']}:{row['model']}": row["rates"] for row in found}
    assert list(names) == ["openai:gpt-4o-mini", "anthropic:claude-opus-5-5", "team:own"]
    assert names["team:own"] is None


def test_with_nothing_configured_and_nothing_asked_it_says_what_to_type(home: Path) -> None:
    done = run(home, "cost", "prices")
    assert (done.returncode, done.stdout) == (0, "")
    assert "name a model" in done.stderr


def test_the_file_of_prices_counts(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(
        '{"azure:d": {"model": "openai:gpt-4o", "uplift": 1.1},'
        ' "team:own": {"input": 1, "output": 2, "batch": {"input": 0.5, "output": 1}, "tiers": {"slow": {"input": 0.1,'
        ' "output": 0.2}}}}'
    )
    own = one(home, "team:own", LLM_PRICES=str(path), LLM_ENDPOINTS="team")
    assert (own["rates"]["input"], own["batch"]["input"], own["tiers"]["slow"]["input"]) == ("1", "0.50", "0.10")
    mapped = one(home, "azure:d", LLM_PRICES=str(path))
    assert (mapped["rates"]["input"], mapped["batch"]["input"], mapped["listed_as"]) == ("2.75", "1.375", "gpt-4o")
    assert mapped["source"].startswith("LLM_PRICES with genai-prices ")


def test_a_negative_price_in_the_file_is_exit_2(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"m": {"input": -0.1, "output": 2}}')
    done = run(home, "cost", "prices", LLM_PRICES=str(path))
    assert done.returncode == 2
    assert f"{path}: 'm': input must be a number of USD from 0 up" in done.stderr


# -- refreshed prices


def test_an_update_is_kept_counts_and_goes_away_again(home: Path, server: Recorder) -> None:
    done = run(home, "cost", "prices", "--update", "--from", f"{server.url}/data.json?token=secret")
    assert done.returncode == 0, done.stderr
    assert "other rates: openai:gpt-4o" in done.stdout
    assert "secret" not in done.stdout + done.stderr + (home / "data" / "price-list.json").read_text()
    assert stat.S_IMODE((home / "data" / "price-list.json").stat().st_mode) == 0o600
    found = one(home, "openai:gpt-4o")
    assert found["rates"] == {"input": "1", "output": "2", "steps": []}
    assert found["source"].startswith("genai-prices of 20")
    assert prices(home, "openai:gpt-4o")["list"]["refreshed_at"] is not None
    assert prices(home, "--reset")["reset"] is True
    assert one(home, "openai:gpt-4o")["rates"]["input"] == "2.50"
    assert prices(home, "--reset")["reset"] is False


def test_an_update_from_a_file(home: Path, tmp_path: Path, published: bytes) -> None:
    path = tmp_path / "list.json"
    path.write_bytes(published)
    assert prices(home, "--update", "--from", str(path))["update"]["changed"] == ["openai:gpt-4o"]
    assert prices(home, "--update", "--from", str(path))["update"]["changed"] == []


def test_a_name_from_a_list_stays_on_its_line(home: Path, tmp_path: Path) -> None:
    document = as_published()
    models = next(each for each in document if each["id"] == "openai")["models"]
    name = "new\nkept 9 models " + "x" * 5000
    models.append({"id": name, "match": {"equals": "n"}, "prices": {"input_mtok": 1, "output_mtok": 1}})
    path = tmp_path / "list.json"
    path.write_text(json.dumps(document))
    lines = run(home, "cost", "prices", "--update", "--from", str(path)).stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("new: openai:new kept 9 models xxx")
    assert len(lines[1]) < 100


def test_nothing_but_an_update_asks_anybody(home: Path, server: Recorder) -> None:
    run(home, "cost", "prices", "--update", "--from", server.url)
    asked = len(server.seen)
    assert asked == 1
    for arguments in (("prices", "openai:gpt-4o"), ("report",), ("prices", "--reset")):
        run(home, "cost", *arguments)
    assert len(server.seen) == asked


@pytest.mark.parametrize(
    ("answer", "complaint", "code"),
    [
        (Answer({"error": "gone"}, status=404), "status 404", 1),
        (Answer(b"", status=302, headers={"location": "http://127.0.0.1:1/"}), "status 302", 1),
        (Answer({"a": 1}), "no list of prices", 1),
        (Answer(b"[" * 90_000), "no list of prices", 1),
        (Answer(b"[]" + b" " * 60_000), "0 providers", 1),
        (Answer(drop=True), "cannot be had", 1),
        (Answer(b"[" + b" " * 60_000, cut=True), "cannot be had", 1),
    ],
    ids=["404", "redirect", "object", "nesting", "empty", "hang up", "cut"],
)
def test_a_bad_update_leaves_what_there_was(
    home: Path, published: bytes, answer: Answer, complaint: str, code: int
) -> None:
    with Recorder(Answer(published)) as server:
        assert run(home, "cost", "prices", "--update", "--from", server.url).returncode == 0
        before = (home / "data" / "price-list.json").read_bytes()
        server.answer = answer
        done = run(home, "cost", "prices", "--update", "--from", server.url)
    assert (done.returncode, done.stdout) == (code, "")
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (home / "data" / "price-list.json").read_bytes() == before
    assert list((home / "data").iterdir()) == [home / "data" / "price-list.json"]


def test_a_server_that_is_away_is_told(home: Path) -> None:
    done = run(home, "cost", "prices", "--update", "--from", "http://127.0.0.1:9/x")
    assert done.returncode == 1
    assert "cannot be had" in done.stderr


def test_an_answer_without_an_end_is_not_read_to_it(home: Path) -> None:
    stop = threading.Event()

    def pieces() -> Iterator[bytes]:
        while not stop.is_set():
            yield b" " * 1_000_000

    with Recorder(Answer(pieces=pieces)) as server:
        done = run(home, "cost", "prices", "--update", "--from", server.url)
        stop.set()
    assert done.returncode == 1
    assert "cannot be had" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--update", "--reset"), "not both"),
        (("--reset", "gpt-4o"), "name no model"),
        (("--from", "x"), "give both"),
        (("--update", "--from", ""), "names neither"),
        (("--update", "--from", "/nonexistent"), "cannot be read: No such file"),
        (("--update", "--from", "/dev/zero"), "it is no file"),
        (("--update", "--from", "ftp://host/x"), "--from must be a URL"),
        (("--update", "--from", "http://host\\@other/x"), "--from must be a URL"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_exit_2(home: Path, arguments: tuple[str, ...], complaint: str) -> None:
    done = run(home, "cost", "prices", *arguments)
    assert done.returncode == 2
    assert complaint in done.stderr


def test_a_damaged_refreshed_list_is_one_warning_in_every_command(home: Path, published: bytes) -> None:
    path = home / "data" / "price-list.json"
    with Recorder(Answer(published)) as server:
        run(home, "cost", "prices", "--update", "--from", server.url)
    path.write_bytes(path.read_bytes()[:-10])
    done = run(home, "cost", "prices", "openai:gpt-4o")
    assert done.returncode == 0
    assert " 2.50 " in done.stdout
    assert done.stderr.count("are damaged") == 1
    assert path.exists()
