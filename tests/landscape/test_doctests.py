"""Every example in a docstring of `landscape` runs, and those of its page."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import gainstage.landscape

MODULES = [module.name for module in pkgutil.walk_packages(gainstage.landscape.__path__, "gainstage.landscape.")]
DOCUMENT = Path(__file__).parents[2] / "docs" / "probes.md"


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_page_shows_what_one_gets() -> None:
    outcome = doctest.testfile(str(DOCUMENT), module_relative=False, encoding="utf-8")
    assert outcome.attempted > 5
    assert outcome.failed == 0


def test_public_names_are_what_they_say() -> None:
    for name in gainstage.landscape.__all__:
        assert getattr(gainstage.landscape, name).__name__ == name
    assert list(gainstage.landscape.__all__) == sorted(gainstage.landscape.__all__)
