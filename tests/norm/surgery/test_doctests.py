"""Every example in a docstring of norm surgery, and in docs/surgery.md, runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import gainstage.norm.surgery

MODULES = [module.name for module in pkgutil.iter_modules(gainstage.norm.surgery.__path__, "gainstage.norm.surgery.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_document_shows_what_one_gets() -> None:
    document = Path(__file__).parents[3] / "docs" / "surgery.md"
    outcome = doctest.testfile(str(document), module_relative=False, encoding="utf-8")
    assert outcome.attempted > 12
    assert outcome.failed == 0
