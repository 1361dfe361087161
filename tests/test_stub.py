"""The typed stub says what the extension has: the same names, and for each the same parameters and defaults."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType

import pytest

import inferno
from inferno import _core

STUB = ast.parse((Path(inferno.__file__).parent / "_core.pyi").read_text(encoding="utf-8"))
Scope = dict[str, ast.stmt]


def public(names: list[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def scope(body: list[ast.stmt]) -> Scope:
    """Public definitions by name, of overloads the last."""
    found: Scope = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return {name: node for name, node in found.items() if name == "__init__" or not name.startswith("_")}


MODULE = scope(STUB.body)
CLASSES = {name: scope(node.body) for name, node in MODULE.items() if isinstance(node, ast.ClassDef)}
FUNCTIONS = [
    (owner, name)
    for owner, names in [("", MODULE), *CLASSES.items()]
    for name, node in names.items()
    if isinstance(node, ast.FunctionDef) and not any(ast.unparse(d) == "property" for d in node.decorator_list)
]


def documented(owner: str, name: str) -> str:
    """The parameters that the extension names: "out, x, *, isa=''"."""
    holder: ModuleType | type = getattr(_core, owner) if owner else _core
    inside = re.match(r"\w+\((.*)\) -> ", getattr(holder, name).__doc__).group(1)  # type: ignore[union-attr]
    parameters = ast.parse(f"def f({inside}): ...").body[0]
    assert isinstance(parameters, ast.FunctionDef)
    return without_types(parameters.args)


def without_types(parameters: ast.arguments) -> str:
    for parameter in [*parameters.args, *parameters.kwonlyargs]:
        parameter.annotation = None
    return ast.unparse(parameters)


def test_module_names() -> None:
    assert set(MODULE) == public(dir(_core))


@pytest.mark.parametrize("name", CLASSES)
def test_class_names(name: str) -> None:
    assert set(CLASSES[name]) == public(dir(getattr(_core, name))) | {"__init__"}


@pytest.mark.parametrize(("owner", "name"), FUNCTIONS)
def test_parameters(owner: str, name: str) -> None:
    node = (CLASSES[owner] if owner else MODULE)[name]
    assert isinstance(node, ast.FunctionDef)
    declared = without_types(node.args)
    if (owner, name) == ("Sampler", "sample"):
        declared += "=-1"  # the stub tells a call without logprobs from one with them by overloads
    assert declared == documented(owner, name)


@pytest.mark.parametrize("name", [name for name, node in MODULE.items() if isinstance(node, ast.AnnAssign)])
def test_constants_have_their_types(name: str) -> None:
    node = MODULE[name]
    assert isinstance(node, ast.AnnAssign)
    value = getattr(_core, name)
    if ast.unparse(node.annotation) == "Final[int]":
        assert type(value) is int
    else:
        assert ast.unparse(node.annotation) == "Final[tuple[str, ...]]"
        assert type(value) is tuple
        assert all(type(each) is str for each in value)
