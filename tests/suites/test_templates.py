"""Templates print what promptfoo 0.121 prints: the right column was taken from it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from llmswitch.suites.templates import Renderer, RenderError

VARS: dict[str, Any] = {
    "yes": True,
    "n": 3,
    "f": 3.14159,
    "tiny": 1e-7,
    "whole": 2.0,
    "s": "hello big world",
    "l": [3, 1, 2],
    "deep": [[1, 2], [True, None, "x"]],
    "d": {"a": {"b": [1, {"c": 2}]}, "z": 1},
    "none": None,
    "html": "<b>a & b</b>",
    "empty": [],
    "users": [{"a": 1, "n": "x"}, {"a": 0, "n": "y"}],
}


@pytest.mark.parametrize(
    ("template", "printed"),
    [
        ("{{ yes }} {{n}} {{f}} {{ tiny }} {{whole}}", "true 3 3.14159 1e-7 2"),
        ("{{ l }} {{ deep }} {{ d }} [{{ none }}] [{{ missing }}]", "3,1,2 1,2,true,,x [object Object] [] []"),
        ("{{ d | dump }} {{ l | dump }}", '{"a":{"b":[1,{"c":2}]},"z":1} [3,1,2]'),
        ("{{ d.a.b }} {{ d.x.y }} {{ l.length }} {{ l[1] }} {{ l[-1] }}", "1,[object Object]  3 1 "),
        ("{% for x in l %}{{loop.index}}:{{x}}{% if not loop.last %}, {% endif %}{% endfor %}", "1:3, 2:1, 3:2"),
        ("{% for k, v in d %}{{k}}={{v}};{% endfor %}", "a=[object Object];z=1;"),
        ("{{ s | upper }} {{ s | capitalize }} {{ s | title }}", "HELLO BIG WORLD Hello big world Hello Big World"),
        ("{{ s | replace('o','0') }} {{ s | truncate(5) }}", "hell0 big w0rld hello..."),
        ("{{ deep | join('-') }} {{ s | length }} {{ q | default('d') }}", "1,2-true,,x 15 d"),
        ("{{ f | round(1) }} {{ f | int }} {{ 2.5 | round }} {{ -2.5 | round }}", "3.1 3 3 -2"),
        ("{{ html }} {{ html | escape }} {{ html | striptags }}", "<b>a & b</b> &lt;b&gt;a &amp; b&lt;/b&gt; a & b"),
        ("{{ s.toUpperCase() }} {{ s.split(' ') }}", "HELLO BIG WORLD hello,big,world"),
        ("{{ '1' + 1 }} {{ n + 1 }} {{ 7 / 2 }} {{ 7 // 2 }} {{ 2 ** 3 }} {{ 0.1 + 0.2 }} {{ 1/0 }}", "11 4 3.5 3 8 "
         "0.30000000000000004 Infinity"),
        ("{{ n == '3' }} {{ n === 3 }} {{ '10' > 9 }} {{ none == null }}", "true true true true"),
        ("{{ 'x' if empty else 'y' }} {{ not yes }} {{ n ~ s }} {{ 'o' in s }}", "x false 3hello big world true"),
        ("{{ l | batch(2) | dump }} {{ l | sort }} {{ l | sum }} {{ l | reverse }}", "[[3,1],[2]] 1,2,3 6 2,1,3"),
        ("{{ users | selectattr('a') | dump }}", '[{"a":1,"n":"x"}]'),
        ("{{ '' | default('e', true) }} {{ 'x' | first }} {{ missing | dump }}", "e x "),
        ("no {{ open", "no {{ open"),
        ("a\n", "a\n"),
    ],
)  # fmt: skip
def test_a_template_prints_what_promptfoo_prints(template: str, printed: str) -> None:
    assert Renderer().prompt(template, VARS, {}) == printed


def test_names_without_a_value_are_told_once_they_are_written() -> None:
    missing: dict[str, None] = {}
    Renderer().text(
        "{{ a }} {{ b | upper }} {% if c %}x{% endif %} {{ d | default('e') }} {{ n.x }}", {"n": {}}, missing
    )
    assert list(missing) == ["a", "x"]


def test_variables_may_hold_variables() -> None:
    renderer = Renderer()
    values = renderer.resolved({"a": "<{{b}}>", "b": "deep {{ c }}\n", "c": "end", "d": "{{ nobody }}", "e": "{{e}}!"})
    assert values["a"] == "<deep end>"
    assert values["d"] == "{{ nobody }}"
    assert values["e"].endswith("!!!!!")
    assert renderer.prompt("{{ d }} {{ u }}", {**values, "u": "{{ c | upper }}"}, {}) == "{{ nobody }} END"


def test_a_json_prompt_escapes_what_is_put_into_it() -> None:
    found = Renderer().prompt('[{"role": "user", "content": "{{ q }}"}]', {"q": 'say "x"\n\\'}, {})
    assert found == '[\n  {\n    "role": "user",\n    "content": "say \\"x\\"\\n\\\\"\n  }\n]'


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
        "{% set x = 'xxxxxxxxxx' %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}",
        "{% set x = 'xxxxxxxxxx' %}" + "{% set x = x + x %}" * 40 + "{{ x }}",
        "{% set x = 'xxxxxxxxxx' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40 + "{{ x }}",
        "{% set x = 'xxxxxxxxxx' %}" + "{% set x = [x, x] | join %}" * 40 + "{{ x }}",
        "{% set x = 'xxxxxxxxxx' %}" + "{% set x = x | replace('x', x) %}" * 40 + "{{ x }}",
        "{% set x = 'xxxxxxxxxx' %}" + "{% set x = [x, x] | dump %}" * 40 + "{{ x }}",
        "{% set x = [1] %}" + "{% set x = [x, x] %}" * 40 + "{{ x }}",
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{{ 'x' | center(10**10) }}",
        "{{ 'x\n' | indent(10**10) }}",
        "{{ [1] | batch(1, 1) }}{{ [1] | slice(10**10) | dump }}",
        "{{ '%0999999999d' | format(1) }}",
        "{{ ''.__class__.__mro__ }}{{ ''.format() }}",
        "{{ [].append(1) }}",
        "{{ cycler.__init__.__globals__ }}{{ cycler.__init__.__globals__.os.system('id') }}",
        "{{ self.__init__.__globals__.x() }}",
        "{% include 'x' %}",
        "{{ (" * 500 + "1" + ") }}" * 500,
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{% if x %}" * 200 + "{% endif %}" * 200,
        "{{ random([1, 2]) }}",
        "{{ 1 | nofilter }}",
        "{% bogus %}",
    ],
)
def test_a_template_cannot_hang_grow_or_get_out(template: str) -> None:
    started = time.monotonic()
    with pytest.raises(RenderError):
        Renderer().text(template, {}, {})
    assert time.monotonic() - started < 10
