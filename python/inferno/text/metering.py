"""Puts meters into a parsed template where jinja2's sandbox has no hook: loops, `~`, slices, lists as they are made."""

from __future__ import annotations

from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from inferno.text.budget import STEP

# Names of filters. No template can write them, since they are no identifiers.
TICK = "inferno tick"
CHARGED = "inferno charged"
MEASURED = "inferno measured"
CONCAT = "inferno concat"


def metered(template: nodes.Template) -> nodes.Template:
    """The template with calls of the filters above: a price for each turn of a loop, and for what is made."""
    _Meters().visit(template)
    environment = template.environment
    assert environment is not None
    return template.set_environment(environment)  # type: ignore[return-value]


class _Meters(NodeTransformer):
    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        price = STEP + _static_size(node)
        self.generic_visit(node)
        tick = _filter(nodes.Const(price), TICK, node.lineno)
        node.body.insert(0, nodes.ExprStmt(tick).set_lineno(node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter(nodes.Tuple(node.nodes, "load").set_lineno(node.lineno), CONCAT, node.lineno)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter(node, CHARGED, node.lineno) if isinstance(node.arg, nodes.Slice) else node

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        return self._literal(node, node.items)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        return node if node.ctx == "store" else self._literal(node, node.items)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        return self._literal(node, [pair.value for pair in node.items])

    def _literal(self, node: nodes.Expr, items: list[Any]) -> nodes.Node:
        """A few lists, each holding the one before twice, are endless to write out: so each pays for all it holds."""
        self.generic_visit(node)
        constant = all(isinstance(item, nodes.Const) for item in items)
        return node if constant else _filter(node, MEASURED, node.lineno)


def _filter(node: nodes.Node, name: str, line: int) -> nodes.Filter:
    made: nodes.Filter = nodes.Filter(node, name, [], [], None, None)
    made.set_lineno(line)
    return made


def _static_size(node: nodes.Node) -> int:
    """Characters of literal text in a loop's body, inner loops included."""
    texts = [child.data for child in node.find_all(nodes.TemplateData)]
    texts += [child.value for child in node.find_all(nodes.Const) if isinstance(child.value, str)]
    return sum(len(text) for text in texts)
