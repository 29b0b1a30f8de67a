"""docs/normalization-layers.md shows what one gets, and lists every layer."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from gainstage.norm.layers import LAYERS, PARAMETRIZATIONS

DOCUMENT = Path(__file__).parents[2] / "docs" / "normalization-layers.md"


def test_examples_run() -> None:
    outcome = doctest.testfile(str(DOCUMENT), module_relative=False, encoding="utf-8")
    assert outcome.attempted > 8
    assert outcome.failed == 0


def test_every_layer_is_listed() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \| `\w+[^|]*` \|", text, re.MULTILINE) == list(LAYERS)
    assert all(f"`{name}`" in text for name in PARAMETRIZATIONS)
