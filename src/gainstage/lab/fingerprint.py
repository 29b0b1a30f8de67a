"""A hash of everything that decides a verdict: a design's numbers, and the code that measures and judges.

Code is told by its syntax tree, without docstrings and comments, and without a claim's text and figure: a word that is
mended makes no new experiment. It covers what the measurement imports from the lab, at any distance; the versions of
gainstage and torch, which stand beside it in every result, cover the rest. Nothing is imported for it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.abc
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from gainstage.lab.claim import Claim, D, Deferred
from gainstage.lab.confrontation import Confrontation

_LAB = "gainstage.lab."
# What a claim is written in and drawn with decides nothing.
_TEXT = ("gainstage.lab.claim", "gainstage.lab.confrontation", "gainstage.lab.figures")
_CONSTANTS = ("CLAIM", "CONFRONTATION")


def fingerprint(experiment: Claim[D] | Confrontation[D], design: D) -> str:
    """Sixteen hexadecimal digits that change when a number, the measurement, a judge or the control does.

    Args:
        experiment: Whose functions are hashed.
        design: One of its designs.
    """
    numbers = asdict(design)
    homes = {_home(function) for function in (*experiment.measures.values(), *experiment.judges)}
    return digest(numbers, homes | set(_named(numbers)), leaving_out=_name(experiment.figure))


def digest(numbers: dict[str, Any], homes: set[str], *, leaving_out: str = "") -> str:
    """The hash of some numbers and of the code of some modules of the lab.

    Args:
        numbers: What JSON can hold.
        homes: Names of modules.
        leaving_out: A function in them that decides nothing.
    """
    found = hashlib.sha256(json.dumps(numbers, sort_keys=True).encode())
    for home in sorted(_reached(homes)):
        found.update(_code(_source(home), leaving_out).encode())
    return found.hexdigest()[:16]


def _named(value: Any) -> Iterator[str]:
    """The lab's modules that a design names by reference, ``gainstage.lab.apparatus.networks:mlp``."""
    if isinstance(value, str) and value.startswith(_LAB) and ":" in value:
        yield value.partition(":")[0]
    elif isinstance(value, dict):
        yield from _named(list(cast("dict[str, Any]", value).values()))
    elif isinstance(value, (list, tuple)):
        for part in cast("Sequence[Any]", value):
            yield from _named(part)


def _home(function: Any) -> str:
    return function.home if isinstance(function, Deferred) else function.__module__


def _name(function: Any) -> str:
    return function.name if isinstance(function, Deferred) else getattr(function, "__name__", "")


def _reached(homes: set[str]) -> set[str]:
    """The modules, and all of the lab's that they import, and so on."""
    found: set[str] = set()
    waiting = list(homes)
    while waiting:
        home = waiting.pop()
        if home not in found:
            found.add(home)
            waiting += _imports(_source(home))
    return found


@lru_cache(maxsize=512)
def _imports(source: str) -> tuple[str, ...]:
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    return tuple(sorted({home for node in nodes for home in _homes(node)} - set(_TEXT)))


def _homes(node: ast.ImportFrom) -> Iterator[str]:
    module = node.module or ""
    if not f"{module}.".startswith(_LAB):
        return
    for alias in node.names:
        inner = f"{module}.{alias.name}"
        # A name is a module or something in one.
        yield inner if _is_module(inner) else module


def _is_module(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None if _parent_is_package(name) else False


def _parent_is_package(name: str) -> bool:
    spec = importlib.util.find_spec(name.rpartition(".")[0])
    return spec is not None and spec.submodule_search_locations is not None


@lru_cache(maxsize=512)
def _code(source: str, leaving_out: str) -> str:
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if not _is_text(node, leaving_out)]
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            node.body = body[1:] or [ast.Pass()]  # pyright: ignore[reportAttributeAccessIssue]
    return ast.dump(tree)


def _is_text(node: ast.stmt, leaving_out: str) -> bool:
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id in _CONSTANTS for target in node.targets)
    return isinstance(node, ast.FunctionDef) and node.name == leaving_out


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _source(home: str) -> str:
    """The module's text; one that is not loaded is not imported for it, since that would load torch."""
    if home in sys.modules:
        return inspect.getsource(sys.modules[home])
    spec = importlib.util.find_spec(home)
    loader = spec.loader if spec else None
    text = loader.get_source(home) if isinstance(loader, importlib.abc.InspectLoader) else None
    # pytest loads packages that bring a plugin by a loader of its own, which has no source to give.
    if text is None and spec and spec.origin and Path(spec.origin).is_file():
        text = Path(spec.origin).read_text(encoding="utf-8")
    if text is None:
        raise RuntimeError(f"lab: the source text of {home} must be readable: its hash is part of the result.")
    return text
