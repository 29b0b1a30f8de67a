"""``gainstage lr``: a small network in a second, every form of output, errors in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gainstage.cli import main

FACTORY = """
import torch
from torch import nn
import gainstage as gs

def small():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    inputs = torch.randn(512, 8)
    batches = list(zip(inputs.split(32), inputs[:, :3].argmax(1).split(32)))
    return gs.Subject(model, batches, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), name="small")

def broken():
    subject = small()
    with torch.no_grad():
        subject.model[0].weight[0, 0] = float("nan")
    return subject
"""


@pytest.fixture
def target(tmp_path: Path) -> str:
    (tmp_path / "nets.py").write_text(FACTORY)
    return f"{tmp_path / 'nets.py'}:small"


def test_text_page_and_picture(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, picture = tmp_path / "lr.html", tmp_path / "lr.png"
    assert main(["lr", target, "--html", str(page), "--plot", str(picture)]) == 0
    shown = capsys.readouterr()
    assert "small: SGD" in shown.out
    assert "safe maximum" in shown.out
    assert shown.err == ""
    assert "Start at a learning rate of" in page.read_text()
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_json_for_a_named_optimizer_goes_to_a_file(target: str, tmp_path: Path) -> None:
    place = tmp_path / "lr.json"
    assert main(["lr", target, "--optimizer", "adamw", "--format", "json", "--output", str(place)]) == 0
    document = json.loads(place.read_text())
    assert document["optimizer"] == "AdamW"
    assert 0 < document["recommended"] <= document["safe_max"] < 1
    assert document["equivalents"] <= 60


def test_errors_are_one_line(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lr", target.replace(":small", ":broken")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "the loss must be finite before any step, got nan" in line
    assert main(["lr", target, "--plot", "lr.pdf"]) == 2
    assert "must end in .svg or .png" in capsys.readouterr().err
