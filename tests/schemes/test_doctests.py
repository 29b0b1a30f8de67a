"""Every example in a docstring of `schemes`, the remedies and `verify` runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import gainstage.remedies
import gainstage.schemes

MODULES = [
    module.name
    for package in (gainstage.schemes, gainstage.remedies)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]


@pytest.mark.parametrize("name", [*MODULES, "gainstage.diagnosis.verify"])
def test_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
