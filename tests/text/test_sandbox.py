"""Hostile templates end with an error, soon and in little memory."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from inferno.errors import TextError
from inferno.text import ChatTemplate, budget

MILLION = "{% set s = 'a' * 10 ** 6 %}"
GROW = "{% set ns = namespace(s=['a' * 8]) %}{% for i in range(60) %}{% set ns.s = GROWN %}{% endfor %}"
TOO_MUCH = "must make a bounded amount of text; got more work than any chat needs"

HUGE = {
    "repeated text": "{{ 'a' * 10 ** 11 }}",
    "repeated list": "{{ 10 ** 9 * [0] }}",
    "doubled by +": GROW.replace("GROWN", "ns.s + ns.s"),
    "doubled by ~": GROW.replace("GROWN", "ns.s ~ ns.s"),
    "nested lists": GROW.replace("GROWN", "[ns.s, ns.s]"),
    "nested tuples": GROW.replace("GROWN", "(ns.s, ns.s)"),
    "nested mappings": GROW.replace("GROWN", "{'a': ns.s, 'b': ns.s}") + "{{ ns.s | tojson }}",
    "nested dict()": GROW.replace("GROWN", "dict(a=ns.s, b=ns.s)"),
    "nested namespaces": GROW.replace("GROWN", "namespace(a=ns.s, b=ns.s)") + "{{ ns.s }}",
    "nested by batch": GROW.replace("GROWN", "[1] | batch(3, ns.s) | list") + "{{ ns.s }}",
    "compared": GROW.replace("GROWN", "dict(a=ns.s, b=ns.s)") + "{{ ns.s == dict(a=1) }}",
    "center": "{{ 'x' | center(10 ** 10) }}",
    "center by map": "{{ ['x'] | map('center', 10 ** 10) | list }}",
    "str.center": "{{ 'x'.center(10 ** 10) }}",
    "Markup.center": "{{ ('x' | safe).center(10 ** 10) }}",
    "str.ljust": "{{ 'x'.ljust(10 ** 10) }}",
    "str.rjust": "{{ 'x'.rjust(10 ** 10) }}",
    "str.zfill": "{{ 'x'.zfill(10 ** 10) }}",
    "str.expandtabs": "{{ ('\t' * 1000).expandtabs(10 ** 8) }}",
    "width in str.format": "{{ '{:>10000000000}'.format(1) }}",
    "width given to str.format": "{{ '{:>{w}}'.format(1, w=10 ** 10) }}",
    "width in format_map": "{{ '{a:>10000000000}'.format_map({'a': 1}) }}",
    "width in %": "{{ '%10000000000d' % 1 }}",
    "width given to %": "{{ '%*d' % (10 ** 10, 1) }}",
    "width in format": "{{ '%10000000000d' | format(1) }}",
    "fields of str.format": MILLION + "{{ ('{0}' * 10 ** 4).format(s) }}",
    "replace": MILLION + "{{ s | replace('a', s) }}",
    "str.replace": MILLION + "{{ s.replace('a', s) }}",
    "replace nothing": MILLION + "{{ s.replace('', s) }}",
    "join": MILLION + "{{ range(100000) | join(s) }}",
    "join of a stream": MILLION + "{{ range(100000) | map('string') | join(s) }}",
    "str.join": MILLION + "{{ s.join(range(100000) | map('string') | list) }}",
    "str.join of a stream": MILLION + "{{ s.join(range(100000) | map('string')) }}",
    "indent": "{{ ('a\n' * 10 ** 5) | indent(10 ** 5) }}",
    "indent by text": MILLION + "{{ ('a\n' * 10 ** 5) | indent(s) }}",
    "wordwrap": MILLION + "{{ ('a ' * 10 ** 5) | wordwrap(1, wrapstring=s) }}",
    "batch": "{{ [1] | batch(10 ** 9, 'x') | list }}",
    "slice": "{{ [1] | slice(10 ** 9) | list }}",
    "printed in a loop": "{% for i in range(100000) %}" + "b" * 10_000 + "{% endfor %}",
    "kept in a loop": "{% set x %}{% for i in range(100000) %}" + "b" * 10_000 + "{% endfor %}{% endset %}",
    "loops in loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}{% endfor %}"
    "{% endfor %}{% endfor %}",
    "macros": "{% macro f(n) %}{% if n %}{% set x = f(n - 1) %}{% set x = f(n - 1) %}{% endif %}{% endmacro %}"
    "{{ f(60) }}",
    "searched in a loop": MILLION + "{% for i in range(10000) %}{{ s.find('b') }}{% endfor %}",
    "counted in a loop": MILLION + "{% for i in range(10000) %}{{ s | wordcount }}{% endfor %}",
    "sliced in a loop": MILLION + "{% for i in range(100000) %}{% set x = s[1:] %}{% endfor %}",
    "value printed in a loop": MILLION + "{% for i in range(100000) %}{{ s }}{% endfor %}",
    "list printed in a loop": MILLION + "{% set l = [s] %}{% for i in range(100000) %}{{ l }}{% endfor %}",
}  # fmt: skip

OTHER = {
    "range": ("{{ range(10 ** 9) | list }}", "Range too big"),
    "power": ("{{ 10 ** 10 ** 7 }}{{ (10 ** 1000) ** 1000 }}", "must keep integers within 4096 bits; got `**`"),
    "product": ("{% set n = 10 ** 1000 %}{{ n * n }}", "must keep integers within 4096 bits; got `*`"),
    "round": ("{{ 1.5 | round(10 ** 9, 'ceil') }}", "must round to at most 100 places; got 1000000000"),
    "sum": ("{{ [[1]] | sum(start=[]) }}", "must sum numbers; got a list to start with"),
    "int.to_bytes": ("{{ (1).to_bytes(10 ** 10, 'big') }}", "must not call to_bytes()"),
    "str.translate": ("{{ 'a'.translate({97: 'b'}) }}", "must not call translate()"),
    "tojson": ("{{ [[1]] | tojson(indent=10 ** 9) }}", "must indent and separate JSON by at most 16 characters"),
    "lipsum": ("{{ lipsum(n=10 ** 9) }}", "'lipsum' is undefined"),
    "endless macro": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "must not nest without end"),
    "endless block": ("{% block a %}{{ self.a() }}{% endblock %}", "must not nest without end"),
    "brackets": ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "must not nest without end"),
    "deep loops": ("{% for i in x %}" * 60 + "{% endfor %}" * 60, "must not nest so deep; got too many"),
    "long source": ("x" * (1 << 21), "must have at most 1048576 characters; got 2097152"),
}


def refused(template: str) -> str:
    start = time.process_time()
    with pytest.raises(TextError) as info:
        ChatTemplate.from_string(template, origin="here").render([{"role": "user", "content": "x"}])
    # A bound on the prices, not a measurement: the dearest takes some 1 s where an unpriced one takes minutes.
    assert time.process_time() - start < 20
    return str(info.value)


@pytest.mark.parametrize("template", HUGE.values(), ids=HUGE)
def test_work_without_bound(template):
    message = refused(template)
    assert message.startswith("here, line ")
    assert message.endswith(TOO_MUCH)


@pytest.mark.parametrize(("template", "said"), OTHER.values(), ids=OTHER)
def test_other_excesses(template, said):
    assert said in refused(template)


def test_memory_stays_small():
    """In one process whose address space would not hold one of the results."""
    templates = [template for template in HUGE.values() if "ns.s" not in template]  # nested ones are slow, not large
    code = (
        "import resource; from inferno.text import ChatTemplate; from inferno.errors import TextError\n"
        "import tokenizers, jinja2, inferno.text.sandbox\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20),) * 2)\n"
        f"for template in {templates!r}:\n"
        "    try: ChatTemplate.from_string(template).render([])\n"
        "    except TextError as error: assert str(error).endswith('any chat needs'), (template[:60], error)\n"
        "    else: raise AssertionError(template[:60])\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_clock_stops_what_prices_miss(monkeypatch):
    monkeypatch.setattr(budget, "SECONDS", 0.0)
    assert "must render within 0 s; got no end" in refused("{% for i in range(9) %}{% endfor %}")


def test_budget_grows_with_the_messages():
    """A long chat is no attack: half a million characters in a thousand messages, copied a few times."""
    messages = [{"role": "user", "content": "word " * 100} for _ in range(1000)]
    template = (
        "{% for m in messages %}{% set c = m['content'] | trim %}{{ '<' ~ m.role ~ '>' + c.strip() + '</>' }}"
        "{% if loop.index == messages | length %}{{ c.split(' ') | join(' ') | length }}{% endif %}{% endfor %}"
    )
    text = ChatTemplate.from_string(template).render(messages)
    assert len(text) == 1000 * (499 + 6 + 3) + 3
    assert ChatTemplate.from_string("{{ messages | tojson }}").render(messages).count("word") == 100_000
    assert ChatTemplate.from_string("{{ messages }}").render([{"role": "user", "content": "x" * 5_000_000}])


def test_renderings_do_not_share_a_budget():
    template = ChatTemplate.from_string("{{ 'a' * 5 * 10 ** 6 }}")
    for _ in range(5):
        assert len(template.render([])) == 5 * 10**6
