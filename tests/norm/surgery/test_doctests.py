"""Every example in a docstring of norm surgery runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import gainstage.norm.surgery

MODULES = [module.name for module in pkgutil.iter_modules(gainstage.norm.surgery.__path__, "gainstage.norm.surgery.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
