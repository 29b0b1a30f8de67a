"""``gainstage map``: a small network in seconds, every form of output, errors in one line."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import pytest

from gainstage.cli import main

FACTORY = """
import os
import time
import torch
from torch import nn
import gainstage as gs

def small():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    inputs = torch.randn(64, 8)
    return gs.Subject(model, (inputs, inputs[:, :3].argmax(1)), name="small")

def small_steps():
    def loss(outputs, targets):
        time.sleep(float(os.environ.get("SECONDS_OF_A_STEP", "0")))
        return nn.functional.cross_entropy(outputs, targets)

    return small().replace(loss=loss)
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
    assert all(line.startswith("map: ") for line in shown.err.splitlines())  # progress, where it takes long
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


# Ctrl-C is heard whatever this process was started with.
IN_THE_FOREGROUND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from gainstage.cli import main
raise SystemExit(main())
"""


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c_names_the_command_that_goes_on_to_the_same_map(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ranges = ["--norms", "as-is", "--scales", "1,10", "--lrs", "1e-3,1", "--steps", "5"]
    store, arguments = tmp_path / "a store", ["map", f"{target}_steps", *ranges, "--format", "json"]
    command = [sys.executable, "-c", IN_THE_FOREGROUND, *arguments, "--store", str(store)]
    environment = {**os.environ, "SECONDS_OF_A_STEP": "0.02"}
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True, env=environment) as child:
        log = store / "map.sqlite3-wal"
        while child.poll() is None and not (log.exists() and log.stat().st_size > 45_000):
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate()
    assert child.returncode == 130
    stopped = json.loads(out)
    assert stopped["interrupted"]
    told, last = err.splitlines()
    assert last == "interrupted"
    prefix, _, again = told.partition("go on: ")
    assert prefix == "What is done is kept; "
    assert shlex.split(again)[0] == "gainstage"

    assert main(shlex.split(again)[1:]) == 0
    found = capsys.readouterr().out
    assert main(arguments) == 0
    assert found == capsys.readouterr().out
    assert json.loads(found)["cells"]["count"] > stopped["cells"]["count"] > 0


def test_a_spent_budget_names_a_larger_one(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["map", target, "--steps", "500", "--budget", "1", "--store", str(tmp_path / "kept")]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert "as far as it was followed until the end of the budget." in shown.out
    further = "What is done is kept; follow the boundary further: gainstage map"
    assert shown.err == f"{further} {target} --steps 500 --budget 2 --store {tmp_path / 'kept'}\n"


def test_a_store_of_other_settings_or_none_is_one_line(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["map", target, "--norms", "as-is", "--scales", "1,10", "--lrs", "0.01,0.1", "--store", str(tmp_path)]
    assert main([*arguments, "--steps", "3"]) == 0
    capsys.readouterr()
    assert main([*arguments, "--steps", "4"]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("gainstage: map: store must belong to this map, whose number of steps is 4, got 3")
    assert shown.err.count("\n") == 1
    assert main([*arguments[:-1], target.rpartition(":")[0]]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("gainstage: map: store must be a folder")
    assert shown.err.count("\n") == 1
    assert shown.out == ""
