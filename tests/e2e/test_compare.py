"""The installed `llmswitch compare` against four vendors on loopback, piped."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import signal
import sqlite3
import stat
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.e2e.conftest import Command, Done
from tests.servers.recorder import Seen
from tests.servers.vendors import Behaviour, Vendors

FOUR = ("-t", "claude", "-t", "openai", "-t", "gemini", "-t", "team")


@pytest.fixture
def vendors() -> Iterator[Vendors]:
    """Four that answer at once."""
    with Vendors() as server:
        yield server


def compare(command: Command, vendors: Vendors, *arguments: str, **more: str) -> Done:
    return command("compare", *arguments, env={**vendors.environ, **more})


def test_piped_the_answers_come_under_plain_headings_and_the_table_after_them(
    command: Command, vendors: Vendors
) -> None:
    vendors.behaviours = {"gpt-4o": Behaviour("Lutetia.", first_s=0.3)}
    done = compare(command, vendors, "Capital of France?", *FOUR)
    assert done.code == 0, done.err
    assert "\x1b" not in done.out
    places = [
        done.out.index(text) for text in ("claude", "Paris is", "openai", "Lutetia.", "gemini", "team", "latency")
    ]
    assert places == sorted(places)
    table = [line for line in done.out.splitlines() if line.startswith(("claude ", "openai ", "gemini ", "team "))]
    assert len(table[-4:]) == 4
    assert any("* " in line or line.count("*") for line in table)
    assert "× slower" in next(line for line in table if line.startswith("openai ") and "$" in line)


def test_json_is_the_contracts_document(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"gpt-4o": Behaviour(status=500), "claude-sonnet-4-5": Behaviour("a b c", first_s=0.5)}
    done = compare(command, vendors, "hi", *FOUR, "--json")
    assert done.code == 0, done.err
    document = done.document
    assert document["schema"] == "llmswitch/comparison/1"
    assert document["prompt"] == "hi"
    claude, openai, gemini, team = document["results"]
    assert claude["schema"] == "llmswitch/response/1"
    assert (claude["provider"], claude["text"], claude["cached"]) == ("anthropic", "a b c", False)
    assert claude["time_to_first_token_s"] >= 0.5
    assert claude["attempts"][0]["outcome"] == "ok"
    assert openai["provider"] == "openai"
    assert openai["request_model"] == "gpt-4o"
    assert openai["error"]["kind"] == "server"
    assert openai["error"]["status"] == 500
    assert "text" not in openai
    assert document["fastest"] in ("gemini", "team")
    assert document["cheapest"] == "gemini"
    assert Decimal(gemini["cost"]["amount"]) > 0
    assert team["cost"] is None


def test_a_cached_answer_is_marked_and_is_never_the_fastest(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"gpt-4o": Behaviour(first_s=0.3)}
    assert compare(command, vendors, "hi", "-t", "team", "--json").code == 0
    three = ("hi", "-t", "team", "-t", "openai", "-t", "claude", "--json")
    vendors.behaviours["claude-sonnet-4-5"] = Behaviour(first_s=2)
    document = compare(command, vendors, *three).document
    assert [result["cached"] for result in document["results"]] == [True, False, False]
    assert document["fastest"] == "openai"
    text = compare(command, vendors, "hi", "-t", "team", "-t", "openai").out
    assert "stop, cached" in text


def test_the_cheapest_is_told_from_the_first_calls_cost(command: Command, vendors: Vendors) -> None:
    assert compare(command, vendors, "hi", "-t", "openai", "--json").code == 0
    document = compare(command, vendors, "hi", "-t", "openai", "-t", "gemini", "--json").document
    assert document["results"][0]["cost"]["amount"] == "0"
    assert document["cheapest"] == "gemini"


def test_all_failed_is_exit_1_and_one_failed_only_under_strict(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"gpt-4o": Behaviour(status=500), "claude-sonnet-4-5": Behaviour(status=401)}
    two = ("-t", "openai", "-t", "claude")
    assert compare(command, vendors, "hi", *two).code == 1
    assert compare(command, vendors, "hi", *two, "-t", "team").code == 0
    assert compare(command, vendors, "hi", *two, "-t", "team", "--strict").code == 1
    assert compare(command, vendors, "hi", "-t", "gemini", "-t", "team", "--strict").code == 0


def test_one_that_never_answers_is_bounded_and_the_others_are_not_held_up(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"gpt-4o": Behaviour(hangs=True)}
    started = time.monotonic()
    done = compare(command, vendors, "hi", *FOUR, "--json", "--timeout", "2")
    assert time.monotonic() - started < 30
    assert done.code == 0
    results = {result["target"]: result for result in done.document["results"]}
    assert results["openai"]["error"]["kind"] == "timeout"
    assert all(results[name]["duration_s"] < 1.5 for name in ("claude", "gemini", "team"))


def test_piped_the_first_answer_is_out_before_the_last_one_came(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"some-model": Behaviour(hangs=True)}
    arguments = ["compare", "hi", "-t", "openai", "-t", "team", "--timeout", "30"]
    process = command.start(arguments, vendors.environ)
    assert process.stdout is not None
    read = ""
    while "Paris is the capital." not in read:
        line = process.stdout.readline()
        assert line, read
        read += line
    assert process.poll() is None
    vendors.stop.set()
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Paris is the capital." in rest


def test_ctrl_c_keeps_what_finished_and_marks_the_rest(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"some-model": Behaviour(hangs=True)}
    process = command.start(["compare", "hi", "-t", "openai", "-t", "team", "--json"], vendors.environ)
    deadline = time.monotonic() + 30
    while "some-model" not in vendors.asked and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    document = json.loads(out)
    assert document["interrupted"] is True
    assert document["results"][0]["text"] == "Paris is the capital."
    assert document["results"][1]["error"]["kind"] == "interrupted"


def test_repeats_print_median_and_spread_and_json_keeps_every_sample(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"gpt-4o": Behaviour(first_s=0.5)}
    arguments = ("hi", "-t", "openai", "-t", "team", "--repeats", "6", "--seed", "5")
    done = compare(command, vendors, *arguments, "--json")
    assert done.code == 0, done.err
    document = done.document
    assert (document["repeats"], document["seed"]) == (6, 5)
    assert len(document["samples"]) == 12
    assert document["fastest"] == "team"
    latency = next(found for found in document["differences"] if found["measure"] == "duration_s")
    assert (latency["better"], latency["worse"], latency["different"]) == ("team", "openai", True)
    assert latency["low"] <= latency["ratio"] <= latency["high"]
    statistics = document["statistics"][0]
    assert statistics["duration_s"]["min"] <= statistics["duration_s"]["median"] <= statistics["duration_s"]["max"]
    text = compare(command, vendors, *arguments).out
    assert "latency: openai is" in text
    assert " to " in text


def test_too_few_repeats_call_nothing_different(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"gpt-4o": Behaviour(first_s=0.2)}
    arguments = ("hi", "-t", "openai", "-t", "team", "--repeats", "3")
    document = compare(command, vendors, *arguments, "--json").document
    assert document["fastest"] is None
    assert not any(found["different"] for found in document["differences"])
    assert "slower" not in compare(command, vendors, *arguments).out


def test_markdown_holds_hostile_answers_in_fences(command: Command, vendors: Vendors) -> None:
    hostile = "```\n# heading\n![x](http://evil.invalid/p.png) <script>alert(1)</script> \x1b[31mred"
    vendors.behaviours = {"gpt-4o": Behaviour(hostile)}
    done = compare(command, vendors, "hi | there", "-t", "openai", "-t", "team", "--markdown")
    assert done.code == 0, done.err
    assert "\x1b" not in done.out
    fence = "````"
    inside = done.out.split(f"{fence}text\n", 1)[1].split(f"\n{fence}\n", 1)[0]
    assert inside.startswith("```\n# heading")
    assert "<script>" not in done.out.replace(inside, "")
    assert "| openai |" in done.out


def test_csv_is_a_row_a_call_and_runs_in_no_spreadsheet(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"gpt-4o": Behaviour('=HYPERLINK("http://evil.invalid")'), "some-model": Behaviour(status=500)}
    done = compare(command, vendors, "hi", "-t", "openai", "-t", "team", "--csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["target"] for row in rows] == ["openai", "team"]
    assert rows[0]["text"].startswith("'=HYPERLINK")
    assert float(rows[0]["duration_s"]) > 0
    assert rows[1]["error_kind"] == "server"
    assert rows[1]["cost_usd"] == ""


def test_html_is_a_file_for_its_owner_and_stdout_stays_as_it_was(command: Command, vendors: Vendors) -> None:
    done = compare(command, vendors, "hi", "-t", "openai", "-t", "team", "--html", "page.html", "--json")
    assert done.code == 0, done.err
    assert len(done.document["results"]) == 2
    page = command.cwd / "page.html"
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    text = page.read_text()
    assert "Paris is the capital." in text
    assert "<svg" in text


def test_a_page_that_cannot_be_written_is_exit_2_before_anything_is_sent(command: Command, vendors: Vendors) -> None:
    done = compare(command, vendors, "hi", "-t", "openai", "--html", "no/such/folder/page.html")
    assert done.code == 2
    assert vendors.asked == []


def test_diff_marks_the_words_that_differ(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"gpt-4o": Behaviour("Lyon is the capital.")}
    done = compare(command, vendors, "hi", "-t", "openai", "-t", "team", "--diff")
    assert "[-Lyon-]{+Paris+} is the capital." in done.out
    document = compare(command, vendors, "hi", "-t", "openai", "-t", "team", "--diff", "--json").document
    assert document["diffs"][0]["before"] == "openai"
    assert [piece["kind"] for piece in document["diffs"][0]["pieces"]] == ["removed", "added", "same"]


def test_schema_compares_field_by_field(command: Command, vendors: Vendors, cwd: Path) -> None:
    (cwd / "s.json").write_text('{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}}}')
    vendors.behaviours = {"gpt-4o": Behaviour('{"a": 1, "b": "x"}'), "some-model": Behaviour('{"a": 2, "b": "x"}')}
    two = ("-t", "openai", "-t", "team", "--schema", "s.json")
    fields = compare(command, vendors, "hi", *two, "--json").document["fields"]
    assert [(field["path"], field["agree"]) for field in fields] == [("$.a", False), ("$.b", True)]
    out = compare(command, vendors, "hi", *two).out
    assert "$.a" in out
    assert "≠" in out


def test_the_judge_is_blind_asked_twice_and_its_cost_is_shown(command: Command, vendors: Vendors) -> None:
    sent: list[str] = []

    def judges(seen: Seen) -> Behaviour:
        sent.append(seen.body.decode())
        return Behaviour('{"ranking": ["A", "B"], "reason": "clearer"}')

    vendors.behaviours = {"claude-judge": judges}
    two = ("-t", "openai", "-t", "team", "--judge", "claude:claude-judge", "--no-cache")
    done = compare(command, vendors, "hi", *two, "--json")
    assert done.code == 0, done.err
    judge = done.document["judge"]
    assert len(judge["verdicts"]) == 2
    assert judge["verdicts"][0]["order"] == judge["verdicts"][1]["order"][::-1]
    assert judge["winner"] is None  # 'A' both times is another answer each time
    assert len(sent) == 2
    assert not any(name in text for text in sent for name in ("openai", "team", "gpt-4o", "some-model"))
    out = compare(command, vendors, "hi", *two).out
    assert "The judge cost" in out
    assert "clearer" in out


def test_a_judge_that_fails_loses_no_answer(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"claude-judge": Behaviour(status=500)}
    two = ("-t", "openai", "-t", "team", "--judge", "claude:claude-judge", "--no-cache")
    done = compare(command, vendors, "hi", *two)
    assert done.code == 0
    assert "Paris is the capital." in done.out
    assert "no verdict" in done.out
    assert compare(command, vendors, "hi", *two, "--strict").code == 1


def test_one_model_at_two_temperatures_is_two_targets(command: Command, vendors: Vendors) -> None:
    done = compare(command, vendors, "hi", "-t", "team?temperature=0", "-t", "team?temperature=1", "--json")
    assert [result["target"] for result in done.document["results"]] == ["team?temperature=0", "team?temperature=1"]
    assert sorted(seen.json["temperature"] for seen in vendors.seen) == [0, 1]


def test_prompt_file_stdin_system_and_attachments_work_as_in_ask(command: Command, vendors: Vendors, cwd: Path) -> None:
    (cwd / "p.md").write_text("from the file")
    (cwd / "note.txt").write_text("attached text")
    done = command(
        *("compare", "argument", "-t", "openai", "-t", "team", "-f", "p.md", "-a", "note.txt", "-s", "be brief"),
        env=vendors.environ,
        stdin="from stdin",
    )
    assert done.code == 0, done.err
    for seen in vendors.seen:
        system, user = seen.json["messages"]
        assert system["content"] == "be brief"
        assert all(text in str(user) for text in ("attached text", "from stdin", "from the file", "argument"))


def test_dry_run_sends_nothing(command: Command, vendors: Vendors) -> None:
    done = compare(command, vendors, "hi", "-t", "openai", "-t", "team", "--dry-run")
    assert done.code == 0
    assert [request["provider"] for request in done.document["requests"]] == ["openai", "team"]
    assert vendors.asked == []


def test_every_call_is_in_the_ledger(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"gpt-4o": Behaviour(status=500)}
    compare(command, vendors, "hi", *FOUR)
    report = command("cost", "report", "--by", "command", "--json").document
    assert [(row["command"], row["calls"], row["errors"]) for row in report["rows"]] == [("compare", 4, 1)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no prompt"),
        (["hi", "-t", "openai", "-t", "openai"], "named twice"),
        (["hi", "-t", "nobody"], "unknown provider"),
        (["hi", "-t", "openai", "-t", "azure"], "AZURE_OPENAI"),
        (["hi", "--repeats", "0"], "--repeats"),
        (["hi", "--repeats", "2.5"], "--repeats"),
        (["hi", "--seed", "x"], "--seed"),
        (["hi", "--json", "--csv"], "--json, --csv"),
        (["hi", "--judge", "nobody"], "unknown provider"),
        (["hi", "--judge", ""], "--judge"),
        (["hi", "--html", ""], "--html"),
        (["hi", "--schema", "missing.json"], "missing.json"),
        (["hi", "--timeout", "0"], "--timeout"),
        (["hi", "-t", ""], "--target"),
        (["hi", "-t", "openai?heat=1"], "heat"),
    ],
)
def test_bad_input_is_exit_2_and_sends_nothing(
    command: Command, vendors: Vendors, arguments: list[str], says: str
) -> None:
    done = compare(command, vendors, *arguments)
    assert done.code == 2, done.err
    assert says in done.err
    assert len(done.err.splitlines()) <= 3
    assert vendors.asked == []


def test_no_target_configured_says_what_to_set(command: Command) -> None:
    done = command("compare", "hi")
    assert done.code == 2
    assert "OPENAI_API_KEY" in done.err


def test_one_target_is_compared_with_nothing_and_says_so(command: Command, vendors: Vendors) -> None:
    done = compare(command, vendors, "hi", "-t", "team")
    assert done.code == 0
    assert "only target" in done.err
    assert "*" not in done.out


@pytest.mark.parametrize("text", ["", "x" * 1_000_000, "word " * 200_000, "مرحبا بالعالم " * 50, "漢字かな" * 500])
def test_answers_of_any_size_and_script_are_whole(command: Command, vendors: Vendors, text: str) -> None:
    vendors.behaviours = {"gpt-4o": Behaviour(text)}
    done = compare(command, vendors, "hi", "-t", "openai", "-t", "team", "--json")
    assert done.code == 0, done.err
    assert done.document["results"][0]["text"] == text
    shown = compare(command, vendors, "hi", "-t", "openai", "-t", "team")
    assert shown.code == 0
    assert text.rstrip() in shown.out


def test_an_empty_answer_and_a_refusal_are_never_the_best(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {
        "gpt-4o": Behaviour(""),
        "claude-sonnet-4-5": Behaviour("I can't.", finish="content_filter"),
        "some-model": Behaviour(first_s=0.3),
    }
    document = compare(command, vendors, "hi", "-t", "openai", "-t", "claude", "-t", "team", "--json").document
    assert document["fastest"] == "team"
    assert document["cheapest"] is None


def interrupted(command: Command, vendors: Vendors, *arguments: str, once_asked: str) -> Done:
    """Ctrl-C half a second after the model `once_asked` was asked."""
    process = command.start(["compare", *arguments], vendors.environ)
    deadline = time.monotonic() + 30
    while once_asked not in vendors.asked and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    return Done(process.returncode, out, err)


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",), ("--markdown",), ("--html", "p.html")])
def test_ctrl_c_in_the_first_round_has_a_row_for_every_target(
    command: Command, vendors: Vendors, form: tuple[str, ...]
) -> None:
    vendors.behaviours = {"hangs": Behaviour(hangs=True)}
    three = ("hi", "-t", "team:hangs", "-t", "team:second", "-t", "team:third", "--repeats", "3", "--seed", "1", *form)
    done = interrupted(command, vendors, *three, once_asked="hangs")
    assert done.code == 130, done.err
    assert "bug" not in done.err
    assert all(name in done.out for name in ("team:hangs", "team:second", "team:third"))
    assert "interrupted" in done.out


def test_without_pythons_buffer_nothing_is_lost_without_a_word(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"gpt-4o": Behaviour("x" * 1_000_000)}
    environ = {**vendors.environ, "PYTHONUNBUFFERED": "1"}
    assert len(compare(command, vendors, "hi", "-t", "openai", "--json", PYTHONUNBUFFERED="1").out) > 1_000_000
    process = command.start(["compare", "hi", "-t", "openai", "--json"], environ)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=30) == 141
    assert process.stderr is not None
    process.stderr.close()


def test_a_ledger_that_is_locked_is_in_nobodys_time(command: Command, vendors: Vendors, home: Path) -> None:
    vendors.behaviours = {"some-model": Behaviour(first_s=0.5)}
    assert compare(command, vendors, "first", "-t", "openai").code == 0
    (database,) = home.rglob("ledger.db")
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as locked:
        locked.execute("BEGIN EXCLUSIVE")
        two = ("hi", "-t", "openai", "-t", "team", "--no-cache", "--json")
        done = compare(command, vendors, *two)
    assert done.code == 0, done.err
    assert done.document["results"][1]["duration_s"] < 3


@pytest.mark.parametrize("section", [("--diff",), ("--judge", "gemini")])
def test_csv_has_no_place_for_what_else_is_asked_for(
    command: Command, vendors: Vendors, section: tuple[str, ...]
) -> None:
    done = compare(command, vendors, "hi", "-t", "openai", "-t", "team", "--csv", *section)
    assert done.code == 2
    assert "--html" in done.err
    assert vendors.asked == []
    assert compare(command, vendors, "hi", "-t", "openai", "--csv", "--html", "p.html", *section).code == 0


def test_the_judge_is_told_what_the_answers_were_told_and_shown(command: Command, vendors: Vendors, cwd: Path) -> None:
    bodies: list[str] = []

    def judges(seen: Seen) -> Behaviour:
        bodies.append(seen.body.decode())
        return Behaviour('{"ranking": ["A", "B"], "reason": "clearer"}')

    vendors.behaviours = {"judge": judges, "some-model": Behaviour("Arr.")}
    (cwd / "p.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    two = ("hi", "-t", "openai", "-t", "team", "-s", "Answer like a pirate", "-a", "p.png", "--judge", "openai:judge")
    assert compare(command, vendors, *two).code == 0
    assert len(bodies) == 2
    assert all("Answer like a pirate" in body and "iVBORw0KGgo" in body for body in bodies)


def test_a_judge_that_cannot_take_the_attachment_stops_it_all(command: Command, vendors: Vendors, cwd: Path) -> None:
    (cwd / "p.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    done = compare(command, vendors, "hi", "-t", "openai", "-a", "p.png", "--judge", "deepseek", DEEPSEEK_API_KEY="k")
    assert done.code == 2
    assert "p.png" in done.err
    assert vendors.asked == []


def test_a_reply_of_the_judge_that_was_none_is_not_kept_for_one(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"judge": Behaviour("I'd rather not.")}
    two = ("hi", "-t", "openai", "-t", "team", "--judge", "openai:judge", "--json")
    assert compare(command, vendors, *two).document["judge"]["error"]["kind"] == "malformed"
    vendors.behaviours = {"judge": Behaviour('{"ranking": ["A", "B"], "reason": "now"}')}
    document = compare(command, vendors, *two).document
    assert all(result["cached"] for result in document["results"])
    assert len(document["judge"]["verdicts"]) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_beside_the_page(command: Command, vendors: Vendors, number: int) -> None:
    vendors.behaviours = {"hangs": Behaviour(hangs=True)}
    process = command.start(["compare", "hi", "-t", "team:hangs", "--html", "p.html"], vendors.environ)
    while "hangs" not in vendors.asked:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert list(command.cwd.iterdir()) == []


def test_a_page_goes_not_where_stdout_goes(command: Command, vendors: Vendors) -> None:
    with open(command.cwd / "out", "w") as out:
        process = command.start(["compare", "hi", "-t", "openai", "--html", "/dev/stdout"], vendors.environ, stdout=out)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "stdout" in err
    assert vendors.asked == []


def test_dry_run_says_how_often_and_who_judges(command: Command, vendors: Vendors) -> None:
    arguments = ("hi", "-t", "openai", "-t", "team", "--repeats", "3", "--judge", "gemini", "--dry-run")
    document = compare(command, vendors, *arguments).document
    assert (document["repeats"], document["judge"]) == (3, "gemini")


def test_a_page_whose_folder_went_away_costs_no_answer_and_no_second_document(
    command: Command, vendors: Vendors, cwd: Path
) -> None:
    (cwd / "sub").mkdir()

    def removes(seen: Seen) -> Behaviour:
        (cwd / "sub").rmdir()
        return Behaviour()

    vendors.behaviours = {"gpt-4o": removes}
    done = compare(command, vendors, "hi", "-t", "openai", "--html", "sub/p.html", "--json")
    assert done.code == 2
    assert done.document["results"][0]["text"] == "Paris is the capital."
    assert "sub/p.html" in done.err
