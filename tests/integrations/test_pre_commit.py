"""The hook that ``.pre-commit-hooks.yaml`` offers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

import gainstage
from gainstage.cli import main

HOOKS = Path(gainstage.__file__).parents[2] / ".pre-commit-hooks.yaml"


@pytest.fixture
def hook() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    if not HOOKS.is_file():
        pytest.skip("gainstage is installed without its repository")
    (only,) = yaml.safe_load(HOOKS.read_text())
    return only


def test_it_has_what_pre_commit_asks_for(hook: dict[str, Any]) -> None:
    assert {"id", "name", "entry", "language"} <= hook.keys()
    assert (hook["id"], hook["language"], hook["pass_filenames"]) == ("gainstage-check", "python", False)


def test_its_entry_is_a_command_that_fails_on_findings(
    hook: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def factory():\n"
        "    g = torch.Generator().manual_seed(0)\n"
        "    batch = torch.randn(64, 8, generator=g), torch.randint(3, (64,), generator=g)\n"
        "    return nn.Sequential(nn.Linear(8, 3), nn.Softmax(1)), batch, nn.CrossEntropyLoss()\n"
    )
    program, *arguments = shlex.split(hook["entry"])
    assert program == "gainstage"
    assert main([*arguments, f"{tmp_path / 'model.py'}:factory"]) == 1
    assert "ACT004" in capsys.readouterr().out
