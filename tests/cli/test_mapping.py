"""``gainstage map``: a small network in seconds, every form of output, errors in one line."""

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
    inputs = torch.randn(64, 8)
    return gs.Subject(model, (inputs, inputs[:, :3].argmax(1)), name="small")
"""


@pytest.fixture
def target(tmp_path: Path) -> str:
    (tmp_path / "nets.py").write_text(FACTORY)
    return f"{tmp_path / 'nets.py'}:small"


def test_text_page_and_picture(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["map", target, "--norms", "as-is,batch", "--scales", "0.1,10", "--lrs", "1e-3,1", "--steps", "20"]
    page, picture = tmp_path / "map.html", tmp_path / "map.png"
    assert main([*arguments, "--html", str(page), "--plot", str(picture)]) == 0
    shown = capsys.readouterr()
    assert "Recommended: lr" in shown.out
    assert "with Adam" in shown.out
    assert shown.err == ""
    assert "small" in page.read_text()
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_json_goes_to_a_file(target: str, tmp_path: Path) -> None:
    place = tmp_path / "map.json"
    arguments = ["map", target, "--norms", "as-is", "--scales", "1,10", "--lrs", "0.01,0.1", "--steps", "3"]
    assert main([*arguments, "--format", "json", "--output", str(place)]) == 0
    found = json.loads(place.read_text())
    assert found["steps"] == 3
    assert found["complete"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--norms", "bacth"], "batch"),
        (["--scales", "1"], "--scales: must be two numbers, from and to, such as 0.01,100, got '1'."),
        (["--lrs", "1,0.1"], "map: learning rates must be positive and in order, got 1 to 0.1."),
        (["--plot", "map.pdf"], "--plot: file must end in .svg or .png, got 'map.pdf'."),
    ],
)
def test_errors_are_one_line(target: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", target, *options]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


SPEC = """
name = "grid"
model = "gainstage.sweep.examples:mlp"
data = "gainstage.sweep.examples:blobs"
steps = 30
measure = 10
metrics = ["train_loss"]
[axes]
norm = ["none", "batch"]
scale = [0.1, 1.0, 10.0]
lr = [0.001, 0.1, 10.0]
seed = [0, 1]
[fixed]
batch_size = 16
"""


def test_a_sweep_is_run_and_mapped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "grid.toml").write_text(SPEC)
    store = tmp_path / "store"
    arguments = ["map", str(tmp_path / "grid.toml"), "--store", str(store)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "norm none" in shown
    assert "norm batch: trains over" in shown
    assert main([*arguments, "--format", "json"]) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert cells["count"] == 18  # seeds are one field
