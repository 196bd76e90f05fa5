"""A suite is read whole: its cases, or every fault with its place."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from llmswitch.errors import ConfigError
from llmswitch.suites import Loading, SuiteError, load_suite
from tests.suites.helpers import LOADING, TRUSTED, cases, faults, load, prompts, write


def test_every_prompt_is_asked_with_every_test_and_each_of_its_combinations(tmp_path: Path) -> None:
    suite = """
prompts: ["A {{x}} {{y}}", "B {{y}}"]
defaultTest: {vars: {y: [p, q]}}
tests:
  - vars: {x: 1, y: z}
  - vars: {x: [a, b]}
  - vars: {x: [[1, 2]], y: r}
"""
    found = [(case.id, case.prompt) for case in cases(tmp_path, suite)]
    assert found == [
        ("1.1", "A 1 z"),
        ("2.1", "B z"),
        *(("1.2.1", "A a p"), ("2.2.1", "B p"), ("1.2.2", "A b p"), ("2.2.2", "B p")),
        *(("1.2.3", "A a q"), ("2.2.3", "B q"), ("1.2.4", "A b q"), ("2.2.4", "B q")),
        ("1.3", "A 1,2 r"),
        ("2.3", "B r"),
    ]  # fmt: skip


def test_a_test_has_what_the_default_says_unless_it_says_otherwise(tmp_path: Path) -> None:
    suite = """
prompts: ["{{x}}"]
defaultTest:
  vars: {x: d}
  threshold: 0.5
  options: {prefix: "pre ", suffix: " suf", provider: openai:chat:judge}
  assert: [{type: contains, value: "{{x}}"}]
tests:
  - assert: [{type: llm-rubric, value: "is {{x}}"}]
  - vars: {x: own}
    threshold: 0
    options: {prefix: "P ", disableDefaultAsserts: true}
"""
    first, second = cases(tmp_path, suite)
    assert (first.prompt, first.threshold) == ("pre d suf", 0.5)
    assert [(one.type, one.value, one.judge) for one in first.assertions] == [
        ("contains", "d", None),
        ("llm-rubric", "is d", "openai:judge"),
    ]
    assert (second.prompt, second.threshold, second.assertions) == ("P own suf", 0.0, ())


def test_what_kind_of_task_a_case_stands_for_is_in_its_metadata(tmp_path: Path) -> None:
    suite = """
prompts: ["{{x}}"]
defaultTest: {metadata: {task: summary, owner: me}}
tests:
  - vars: {x: 1}
  - {vars: {x: 2}, metadata: {task: [code, code, review]}}
  - {vars: {x: 3}, metadata: {owner: you}}
"""
    assert [case.tasks for case in cases(tmp_path, suite)] == [("summary",), ("code", "review"), ("summary",)]
    (tmp_path / "rows.csv").write_text('x,__metadata:task,__metadata:task[]\n1,data entry,\n2,,"code, review"\n')
    tasks = [case.tasks for case in cases(tmp_path, "prompts: ['{{x}}']\ntests: rows.csv\n")]
    assert tasks == [("data entry",), ("code", "review")]
    _, fault = faults(tmp_path, "prompts: [x]\ntests: [{metadata: {task: 5}}]\n")
    assert "a task's name" in fault[-1]


def test_scenarios_are_each_beginning_with_each_of_their_tests(tmp_path: Path) -> None:
    suite = """
prompts: ["{{x}} {{y}}"]
tests: [{vars: {x: t, y: t}}]
scenarios:
  - config: [{vars: {x: 1}}, {vars: {x: 2}, assert: [{type: equals, value: e}]}]
    tests: [{vars: {y: a}}, {vars: {y: b}, assert: [{type: contains, value: c}]}]
"""
    found = cases(tmp_path, suite)
    assert [case.prompt for case in found] == ["t t", "1 a", "1 b", "2 a", "2 b"]
    assert [one.type for one in found[-1].assertions] == ["equals", "contains"]


def test_prompts_come_from_texts_and_files(tmp_path: Path) -> None:
    suite = """
prompts:
  - "What is 1/2 of {{x}}? Read notes.md"
  - file://p/*.txt
  - p/chat.yaml
  - {label: named, raw: "N {{x}}"}
tests: [{vars: {x: 'a "b"'}, prompts: [named, "p/*", "What*"]}, {vars: {x: c}, prompts: [named]}]
"""
    files = {
        "p/a.txt": "One {{x}}\r\n---\r\n\r\nTwo\n",
        "p/b.txt": "B",
        "p/chat.yaml": "- role: user\n  content: '{{x}}'",
    }
    found = load(tmp_path, f"providers: [local]\n{suite.replace('p/*', str(tmp_path / 'p') + '/*')}", files)
    said = [(case.id, case.messages[0].text) for case in found.cases()]
    assert said == [
        ("1.1", 'What is 1/2 of a "b"? Read notes.md'),
        ("2.1", 'One a "b"'),
        ("3.1", "Two"),
        ("4.1", "B"),
        ("5.1", 'a "b"'),
        ("6.1", 'N a "b"'),
        ("6.2", "N c"),
    ]


def test_a_chat_is_sent_as_one(tmp_path: Path) -> None:
    suite = """
prompts:
  - '[{"role":"system","content":"S"},{"role":"user","content":"{{q}}"},{"role":"assistant","content":"A"},
     {"role":"user","content":[{"type":"text","text":"x"},{"type":"text","text":"y"}]}]'
  - "- role: user\\n  content: {{q}}"
  - "[INST] {{q}}"
tests: [{vars: {q: hi}}]
"""
    chat, yaml, text = cases(tmp_path, suite)
    assert chat.system == "S"
    assert [(one.role, one.text) for one in chat.messages] == [("user", "hi"), ("assistant", "A"), ("user", "x\ny")]
    assert [one.text for one in (*yaml.messages, *text.messages)] == ["hi", "[INST] hi"]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ('{"role":"tool","content":"x"}', "role"),
        ('{"role":"user","content":"x"},{"role":"system","content":"y"}', "before all others"),
        ('{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}', "content"),
        ('{"role":"assistant","content":"x","tool_calls":[]},{"role":"user","content":"x"}', "tool_calls"),
        ('{"role":"system","content":"x"}', "message of the user"),
    ],
)
def test_a_chat_that_cannot_be_sent_to_every_vendor_is_a_fault(tmp_path: Path, message: str, said: str) -> None:
    found = faults(tmp_path, f"providers: [local]\nprompts: ['[{message}]']\ntests:\n  - vars: {{}}\n")
    assert [one[:3] for one in found] == [("suite.yaml", 4, 5)]
    assert said in found[0][3]


def test_tests_come_from_csv_jsonl_json_and_yaml(tmp_path: Path) -> None:
    files = {
        "a.csv": '\ufeffq,__expected\r\n"one, ""1""",equals:x\r\n\r\ntwo,\r\n',
        "b.jsonl": '{"vars": {"q": "three"}}\n\n{"vars": {"q": "four"}}',
        "c.json": '[{"vars": {"q": "five"}}]',
        "d/d.yaml": "- vars: {q: six}\n- {vars: {q: seven}, assert: [{type: equals, value: file://d/v.txt}]}\n",
        "d/v.txt": "\n {{q}} \n",
    }
    found = cases(tmp_path, "prompts: ['{{q}}']\ntests: [a.csv, file://b.jsonl, 'c.*', 'file://d/*.yaml']", files)
    assert [case.prompt for case in found] == ['one, "1"', "two", "three", "four", "five", "six", "seven"]
    assert [case.assertions[0].value for case in found if case.assertions] == ["x", "{{q}}"]
    assert [case.description for case in found[:2]] == ["Row #1", "Row #2"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("t.jsonl", '{"vars": {"prompt": "a"}}\n{"vars": {"prompt": "b"}}\n'), ("t.csv", "prompt,__expected\na,x\nb,\n")],
)
def test_tests_alone_are_a_suite_whose_targets_are_given(tmp_path: Path, name: str, text: str) -> None:
    path = write(tmp_path, {name: text})
    suite = load_suite(path, loading=Loading(targets=("local", "claude?temperature=0")))
    assert [target.text for target in suite.targets] == ["local", "claude?temperature=0"]
    assert [case.prompt for case in suite.cases()] == ["a", "b"]
    with pytest.raises(SuiteError, match="nobody to ask"):
        load_suite(path, loading=LOADING)


def test_a_json_suite_and_its_places(tmp_path: Path) -> None:
    text = json.dumps({"providers": ["local"], "prompts": ["x"], "tests": [{"vars": {}, "treshold": 1}]}, indent="\t")
    with pytest.raises(SuiteError) as caught:
        load_suite(write(tmp_path, {"s.json": text}), loading=LOADING)
    (fault,) = caught.value.faults
    line = text.split("\n")[fault.place.line - 1]
    assert '"treshold": 1' in line
    assert line[fault.place.column - 1 :] == "1"
    assert "Did you mean threshold?" in fault.message


def test_all_faults_are_told_at_once_with_their_places(tmp_path: Path) -> None:
    suite = """\
prompts: [file://none.txt]
providers:
  - echo
  - openai:chat:gpt-4o
  - {id: openai:embedding:x}
  - {id: local, config: {tools: [x], temperature: 9}}
  - nobody:x
nunjucksFilters: {a: b.js}
tests:
  - assert:
      - {type: contanis, value: x}
      - {type: javascript, value: x}
      - {type: latency}
      - {type: equals, value: x, threshold: high}
      - {type: equals, value: file://gone.txt, transform: x}
  - vars: file://t.yaml
    threshold: 2
  - file://rows.csv
  - file://rows.jsonl
  - provider: openai:gpt-4o
scenario: []
extra: 1
evaluateOptions: {repeat: 0, maxConcurrency: 1.5}
description: [x]
"""
    files = {
        "t.yaml": "[1]",
        "rows.csv": 'a,b\n1\n2,3,4\n"5,6\n',
        "rows.jsonl": '{"vars": {}}\n{"vars": \n{"asert": [1]}\n',
    }
    found = faults(tmp_path, suite, files)
    assert [one[:2] for one in found] == [
        *(("suite.yaml", line) for line in (1, 3, 5, 6, 6, 7, 8, 11, 12, 13, 14, 15, 15, 17, 20, 22, 23, 23, 24)),
        ("t.yaml", 1),
        ("rows.csv", 2),
        ("rows.csv", 3),
        ("rows.csv", 4),
        ("rows.jsonl", 2),
        ("rows.jsonl", 3),
    ]
    said = {one[1]: one[3] for one in found if one[0] == "suite.yaml"}
    assert "Did you mean contains?" in said[11]
    assert "echo" in said[3]
    assert found[-1][2] == 11


def test_a_template_that_is_none_is_told_once_and_where_it_stands(tmp_path: Path) -> None:
    suite = """\
prompts:
  - "fine {{x}}"
  - "broken {% if x %} {{x}}"
  - '[{"role": "user", "content": "{{ x | zzz }}"}]'
providers: [local]
defaultTest:
  options: {provider: local, rubricPrompt: "{% for %}"}
  assert:
    - {type: contains, value: "{% if x %}"}
    - {type: contains-any, value: [fine, "{{ x | zzz }}"]}
tests:
  - vars: {x: [a, b, c]}
  - vars: {x: a}
    assert:
      - {type: llm-rubric, value: x, rubricPrompt: [{role: user, content: "{% end %}"}]}
  - vars: {x: a}
    options: {suffix: "{% nothing %}"}
"""
    found = faults(tmp_path, suite)
    # a suffix may end what a prompt began: what the two make together is the test's
    assert [one[1] for one in found] == [3, 4, 7, 9, 10, 15, 16, 16, 16]
    assert all("cannot be rendered" in one[3] for one in found)
    assert prompts(
        tmp_path, "prompts: ['{% if x %}{{x}}']\ntests: [{vars: {x: a}, options: {suffix: '{% endif %}'}}]"
    ) == ["a"]


def test_a_pattern_that_stands_for_too_many_files_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmswitch.suites.files._MOST_FILES", 3)
    files = {f"tests/{n}.yaml": "[{vars: {x: 1}}]" for n in range(4)}
    suite = "prompts: ['{{x}}']\nproviders: [local]\ntests: ['tests/*.yaml']"
    ((_, line, _, message),) = faults(tmp_path, suite, files)
    assert (line, "over 3 files" in message) == (3, True)
    (tmp_path / "tests/3.yaml").unlink()
    assert load(tmp_path, suite).count == 3


def test_the_first_hundred_faults_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    rows = "\n".join('{"nothing": 1}' for _ in range(300))
    found = faults(tmp_path, "providers: [local]\nprompts: [x]\ntests: t.jsonl", {"t.jsonl": rows})
    assert len(found) == 101
    assert found[-1][3] == "and 200 more faults that are not shown."


def test_a_variable_without_a_value_is_warned_of_once(tmp_path: Path) -> None:
    told: list[str] = []
    path = write(
        tmp_path, {"s.yaml": "providers: [local]\nprompts: ['{{x}}{{y}}']\ntests: [{vars: {y: 1}}, {vars: {y: 2}}]"}
    )
    suite = load_suite(path, loading=LOADING, warn=told.append)
    assert list(suite.warnings) == told
    assert told == [f"{path}:3:9: the variable 'x' has no value here: it is left empty."]
    assert [case.prompt for case in suite.cases()] == ["1", "2"]
    assert len(told) == 1


def test_targets_given_replace_the_suites_providers_whatever_those_are(tmp_path: Path) -> None:
    suite = "providers: [echo, exec:x]\nprompts: [x]\ntests: [{providers: [echo]}]"
    found = load(tmp_path, suite, loading=Loading(targets=("local",)))
    assert [target.label for target in found.targets] == ["local"]
    assert [case.targets for case in found.cases()] == [None]
    with pytest.raises(ConfigError, match="nobody"):
        load(tmp_path, suite, loading=Loading(targets=("nobody",), known_provider=lambda name: False))


def test_who_is_asked_what(tmp_path: Path) -> None:
    suite = """
providers:
  - {id: openai:chat:gpt-4o, label: big, prompts: [long]}
  - {id: openai:chat:gpt-4o-mini, label: "small:1"}
  - local
prompts: [{label: long, raw: L}, {label: short, raw: S}]
tests: [{vars: {}}, {providers: [small, local]}, {providers: ["openai:*"], prompts: [long]}]
"""
    found = {case.id: case.targets for case in load(tmp_path, suite).cases()}
    assert found == {
        "1.1": None,
        "2.1": ("small:1", "local"),
        "1.2": ("small:1", "local"),
        "2.2": ("small:1", "local"),
        "1.3": ("big", "small:1"),
    }


def test_files_stay_below_the_suites_folder_unless_all_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "link.txt").symlink_to(tmp_path / "secret.txt")
    (inner / "up").symlink_to(tmp_path)
    names = ("../secret.txt", "link.txt", "up/secret.txt", str(tmp_path / "secret.txt"), "../sec*.txt", "up/*.txt")
    for name in names:
        suite = f"providers: [local]\nprompts: ['{{{{x}}}}']\ntests: [{{vars: {{x: 'file://{name}'}}}}]"
        ((*_, message),) = faults(inner, suite)
        assert "--allow-files" in message
        allowed = load(inner, suite, loading=Loading(allow_files=True))
        assert [case.prompt for case in allowed.cases()] == ["secret"]


def test_no_variable_names_the_code_that_is_run(tmp_path: Path) -> None:
    suite = (
        "providers: [local]\nprompts: [x]\ntests:\n"
        "  - {vars: {x: file:}, assert: [{type: python, value: '{{x}}///tmp/evil.py'}]}\n"
        "  - {vars: {x: file:}, assert: [{type: equals, value: '{{x}}///tmp/evil.py'}, {type: python, value: file://a.py}]}\n"
    )
    ((_, line, _, message),) = faults(tmp_path, suite, {"a.py": ""})
    assert (line, "cannot be run as code" in message) == (4, True)


def test_a_pipe_a_folder_and_a_binary_file_are_faults(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    suite = "providers: [local]\nprompts: ['{{x}}']\ntests: [pipe.csv, {vars: {x: file://folder.txt}}, {vars: {x: file://binary.txt}}]"
    found = faults(tmp_path, suite)
    said = ("regular", "directory", "UTF-8")
    assert [word in one[3] for word, one in zip(said, found, strict=True)] == [True, True, True]


def test_the_environment_is_for_trusted_suites_and_their_own_file_alone(tmp_path: Path) -> None:
    environ = {"SECRET": "s3cret"}
    suite = "providers: [local]\nprompts: ['{{ env.SECRET | upper }} {{ env.OWN }}']\nenv: {OWN: own}\ntests: t.csv"
    trusted = Loading(environ=environ, trusted=lambda path, content: True)
    ((*_, message),) = faults(tmp_path, suite, {"t.csv": "x\n1\n"}, Loading(environ=environ))
    assert "llmswitch profiles trust" in message
    assert "--trust-profile" in message
    found = load(tmp_path, suite, {"t.csv": "x\n1\n"}, trusted)
    assert [case.prompt for case in found.cases()] == ["S3CRET own"]
    suite = "providers: [local]\nprompts: ['<{{ x }}>']\ntests: t.csv"
    found = load(tmp_path, suite, {"t.csv": "x\n{{ env.SECRET }}\n"}, trusted)
    assert [case.prompt for case in found.cases()] == ["<{{ env.SECRET }}>"]


def test_what_decides_a_host_counts_only_from_a_trusted_file(tmp_path: Path) -> None:
    suite = """\
prompts: [x]
env: {OPENAI_BASE_URL: "https://evil.invalid/v1", LLM_PRICES: p.json, OPENAI_MODEL: m}
providers:
  - {id: openai:chat:a, config: {apiBaseUrl: "https://evil.invalid/v1"}}
  - {id: openai:chat:b, config: {apiHost: evil.invalid}}
  - {id: openai:chat:c, config: {headers: {X-A: b}}}
  - {id: openai:chat:d, config: {apiBaseUrl: "http://127.0.0.1:8000/v1"}}
  - {id: openai:chat:e, env: {OPENAI_BASE_URL: "https://evil.invalid/v1"}}
"""
    found = faults(tmp_path, suite)
    assert [one[1] for one in found] == [2, 2, 4, 5, 6, 8]
    assert all("llmswitch profiles trust" in one[3] for one in found)
    targets = load(tmp_path, suite, loading=TRUSTED).targets
    assert [target.variables.get("OPENAI_BASE_URL") for target in targets] == [
        "https://evil.invalid/v1",
        "https://evil.invalid/v1",
        None,
        "http://127.0.0.1:8000/v1",
        "https://evil.invalid/v1",
    ]
    assert targets[2].headers == (("X-A", "b"),)


def test_templates_and_references_of_assertions(tmp_path: Path) -> None:
    suite = """\
providers: [local]
prompts: [x]
assertionTemplates:
  brief: {type: word-count, value: {max: 5}}
tests:
  - assert:
      - {$ref: "#/assertionTemplates/brief"}
      - {$ref: "#/assertionTemplates/brief", metric: short}
"""
    (case,) = load(tmp_path, suite).cases()
    assert [(one.type, one.value, one.metric) for one in case.assertions] == [
        ("word-count", {"max": 5}, None),
        ("word-count", {"max": 5}, "short"),
    ]
    broken = suite.replace('brief"}', 'none"}').replace("word-count, value: {max: 5}", "latency")
    assert [(line, column, "points to nothing" in said) for _, line, column, said in faults(tmp_path, broken)] == [
        (7, 9, True),
        (7, 9, False),
        (8, 9, False),
    ]


def test_the_fingerprint_is_of_what_is_asked_and_of_nothing_else(tmp_path: Path) -> None:
    suite = (
        "providers: [local]\nprompts: ['{{x}}']\ntests: [{vars: {x: file://v.txt}, assert: [{type: equals, value: a}]}]"
    )
    first, second = tmp_path / "one", tmp_path / "two"
    same = load(first, suite, {"v.txt": "v"}).fingerprint
    assert (
        load(second, f"# comment\ndescription: d\n{suite.replace('local', 'claude')}", {"v.txt": "v"}).fingerprint
        == same
    )
    for changed, files in (
        (suite.replace("equals", "contains"), {}),
        (suite, {"v.txt": "w"}),
        (suite.replace("'{{", "'A{{"), {}),
    ):
        shutil.rmtree(second)
        assert load(second, changed, {"v.txt": "v", **files}).fingerprint != same


def test_cases_are_read_anew_each_time_and_a_file_that_broke_is_told(tmp_path: Path) -> None:
    suite = load(
        tmp_path, "providers: [local]\nprompts: ['{{x}}']\ntests: t.jsonl", {"t.jsonl": '{"vars": {"x": 1}}\n' * 3}
    )
    assert [case.id for case in suite.cases()] == [case.id for case in suite.cases()] == ["1.1", "1.2", "1.3"]
    (tmp_path / "t.jsonl").write_text('{"vars": {"x": 1}}\n{"vars"')
    with pytest.raises(SuiteError):
        list(suite.cases())


@pytest.mark.parametrize(
    "text", ["", "[]", "a", "tests: []", "prompts: []\nproviders: []", "providers: [local]\ntests: t.csv"]
)
def test_a_suite_in_which_nothing_is_asked_is_refused(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, text, {"t.csv": "prompt\n"})


def test_a_suite_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="No such file"):
        load_suite(tmp_path / "none.yaml", loading=LOADING)


def test_repeats_and_concurrency_are_taken(tmp_path: Path) -> None:
    found = load(
        tmp_path, "providers: [local]\nprompts: [x]\nevaluateOptions: {repeat: 3, maxConcurrency: 2, cache: true}"
    )
    assert (found.repeats, found.concurrency, found.count, found.asserted) == (3, 2, 1, False)
    ((*_, message),) = faults(tmp_path, "providers: [local]\nprompts: [x]\nevaluateOptions: {repeat: 0}")
    assert "at least 1" in message or "from 1" in message


def test_the_example_is_a_suite_that_can_be_run() -> None:
    told: list[str] = []
    example = Path(__file__).parents[2] / "examples" / "suite.yaml"
    suite = load_suite(example, loading=LOADING, warn=told.append)
    assert not told
    assert [target.text.partition("?")[0] for target in suite.targets] == ["local"]
    assert (suite.asserted, suite.needs_judge, suite.runs_code) == (True, False, False)
    assert suite.count == len(list(suite.cases())) > 3


def test_prompts_that_are_no_files_stay_texts(tmp_path: Path) -> None:
    texts = ["Is a/b?", "Read README.md now", "a*b", "x.y", "{{x}}.txt"]
    assert prompts(tmp_path, f"prompts: {json.dumps(texts)}\ntests: [{{vars: {{x: z}}}}]")[:4] == texts[:4]
