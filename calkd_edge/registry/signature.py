"""The signature and docstring of a registered callable, read from its source without importing its module.

A module of losses or models imports torch; what a recipe may set does not need it. The keyword-only
parameters are compiled apart, with those imports, assignments and plain functions of the module that their
annotations and defaults name. Where that is not possible the caller imports the module.
"""

from __future__ import annotations

import ast
import builtins
import copy
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias, cast

Registered: TypeAlias = Callable[..., Any]
"""A callable that obeys the star rule; what it returns depends on its registry."""

LIGHT = ("annotated_types", "builtins", "collections", "math", "pydantic", "types", "typing")
"""Packages that an annotation or a default may import from."""

OWN = "calkd_edge"


class NotReadable(Exception):
    """The signature cannot be read without importing the module."""


@cache
def signature_of(target: str) -> Registered | None:
    """A function with docstring and keyword-only parameters of "module:object"; None if not readable."""
    module, _, name = target.partition(":")
    try:
        return _stub(module, name)
    except NotReadable:
        return None


@cache
def missing_package(target: str) -> str | None:
    """A package that the module of "module:object" imports at its top and that is not installed."""
    try:
        tree = _tree(target.partition(":")[0])
    except NotReadable:
        return None
    for node in tree.body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            root = name.partition(".")[0]
            if root not in sys.modules and find_spec(root) is None:
                return root
    return None


def _stub(module: str, name: str) -> Registered:
    tree = _tree(module)
    node = _definition(tree, name)
    if isinstance(node, ast.ImportFrom):
        return _stub(_origin(node), _original_name(node, name))
    function: ast.stmt | None = node
    if isinstance(node, ast.ClassDef):
        function = next((item for item in node.body if _is_function(item, "__init__")), None)
    if not isinstance(function, ast.FunctionDef):
        raise NotReadable
    if not all(_declares(tree, decorator) for decorator in function.decorator_list):
        raise NotReadable
    arguments = ast.arguments(
        posonlyargs=[],
        args=[],
        kwonlyargs=copy.deepcopy(function.args.kwonlyargs),
        kw_defaults=copy.deepcopy(function.args.kw_defaults),
        defaults=[],
    )
    docstring = ast.get_docstring(node) or ""  # type: ignore[arg-type]  # a function or a class
    body: list[ast.stmt] = [ast.Expr(ast.Constant(docstring))]
    stub = ast.FunctionDef(name=name, args=arguments, body=body, decorator_list=[], returns=None)
    if "type_params" in ast.FunctionDef._fields:  # Python 3.12
        stub.type_params = []  # type: ignore[attr-defined, unused-ignore]
    namespace = _namespace(module, tree, [arguments])
    _execute([stub], namespace)
    function_object = cast(Registered, namespace[name])
    function_object.__doc__ = docstring
    return function_object


def _namespace(module: str, tree: ast.Module, nodes: list[ast.AST]) -> dict[str, object]:
    """The values of all names that some nodes read, from a module's light imports and assignments."""
    names = [part for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name)]
    local = {part.arg for node in nodes for part in ast.walk(node) if isinstance(part, ast.arg)}
    local |= {name.id for name in names if isinstance(name.ctx, ast.Store)}
    namespace: dict[str, object] = {"__name__": module}
    for name in sorted({name.id for name in names} - local - vars(builtins).keys()):
        namespace[name] = _value(module, tree, name)
    return namespace


def _value(module: str, tree: ast.Module, name: str) -> object:
    """The value of a module's top-level name."""
    node = _definition(tree, name)
    if isinstance(node, ast.ImportFrom):
        origin = _origin(node)
        if origin.partition(".")[0] == OWN:
            return _value(origin, _tree(origin), _original_name(node, name))
        if origin.partition(".")[0] not in LIGHT:
            raise NotReadable
        namespace: dict[str, object] = {}
        _execute([node], namespace)
        return namespace[name]
    if isinstance(node, ast.FunctionDef) and not node.decorator_list:
        namespace = _namespace(module, tree, [node])
        _execute([node], namespace)
        return namespace[name]
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        raise NotReadable
    namespace = _namespace(module, tree, [node.value])
    _execute([ast.Assign(targets=[ast.Name(name, ast.Store())], value=node.value)], namespace)
    return namespace[name]


def _definition(tree: ast.Module, name: str) -> ast.stmt:
    """The top-level statement that binds a name."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            if any((alias.asname or alias.name) == name for alias in node.names):
                return node
        elif isinstance(node, ast.Assign):
            if any(isinstance(target, ast.Name) and target.id == name for target in node.targets):
                return node
        elif isinstance(node, ast.AnnAssign):
            if isinstance(node.target, ast.Name) and node.target.id == name:
                return node
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
    raise NotReadable


def _execute(statements: list[ast.stmt], namespace: dict[str, object]) -> None:
    tree = ast.fix_missing_locations(ast.Module(body=statements, type_ignores=[]))
    exec(compile(tree, "<signature>", "exec"), namespace)


@cache
def _tree(module: str) -> ast.Module:
    """The parsed source of a module, which is not imported; its parent packages are."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError as missing:
        raise NotReadable from missing
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise NotReadable
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _declares(tree: ast.Module, decorator: ast.expr) -> bool:
    """Whether a decorator is `name(...)` of this package; those set attributes and keep the signature."""
    if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Name):
        return False
    definition = _definition(tree, decorator.func.id)
    return isinstance(definition, ast.ImportFrom) and _origin(definition).partition(".")[0] == OWN


def _is_function(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == name


def _origin(node: ast.ImportFrom) -> str:
    if node.module is None or node.level:
        raise NotReadable
    return node.module


def _original_name(node: ast.ImportFrom, name: str) -> str:
    return next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
