"""The examples in the docstrings of `sweep` run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import gainstage.sweep

MODULES = [module.name for module in pkgutil.walk_packages(gainstage.sweep.__path__, "gainstage.sweep.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
