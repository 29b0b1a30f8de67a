"""Real trainings, killed and gone on with, by every backend."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gainstage.sweep import Result, Spec, resume, run

pytestmark = pytest.mark.slow
NETS = """
import torch
from torch import nn
from gainstage.sweep import Data

def mlp(width):
    return nn.Sequential(nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 3))

def blobs():
    g = torch.Generator().manual_seed(0)
    targets = torch.arange(300) % 3
    inputs = torch.randn(300, 8, generator=g) + targets[:, None]
    return Data(inputs[:200], targets[:200], inputs[200:], targets[200:])
"""
SPEC = """
name = "blobs"
model = "nets.py:mlp"
data = "nets.py:blobs"
steps = 400
[axes]
width = [4, 8, 12, 16]
lr = [0.01, 0.1, 1.0]
seed = [0, 1, 2]
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nets")
    (folder / "nets.py").write_text(NETS)
    (folder / "blobs.toml").write_text(SPEC)
    return folder / "blobs.toml"


def exact(result: Result) -> list[str]:
    return [repr(row) for row in result]


def planned(store: Path, spec: Path) -> None:
    """Lays down the plan and nothing else: calibration may choose other chunks each time."""

    def stop(_plan: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Spec.from_toml(spec), store=store, on_plan=stop)


@pytest.fixture(scope="module")
def undisturbed(spec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("undisturbed")
    planned(store, spec)
    (store / "plan").write_bytes((store / "sweep.sqlite3").read_bytes())
    resume(store)
    return store


def with_its_plan(undisturbed: Path, store: Path) -> Path:
    store.mkdir()
    (store / "sweep.sqlite3").write_bytes((undisturbed / "plan").read_bytes())
    return store


def test_a_killed_sweep_goes_on_to_the_same_rows(undisturbed, tmp_path):
    store = with_its_plan(undisturbed, tmp_path / "store")
    path = [entry for entry in sys.path if entry]
    program = f"import sys; sys.path[:] = {path!r}; from gainstage.sweep import resume; resume(sys.argv[1])"
    child = subprocess.Popen([sys.executable, "-c", program, str(store)])
    while Result(store).status.done == 0:
        assert child.poll() is None
        time.sleep(0.01)
    child.kill()
    child.wait()
    before = exact(Result(store))
    assert 0 < len(before) < 36
    result = resume(store)
    assert result.status.complete
    assert exact(result) == exact(Result(undisturbed))
    assert set(before) < set(exact(result))


def test_in_this_process_the_rows_are_the_same(undisturbed, tmp_path):
    store = with_its_plan(undisturbed, tmp_path / "store")
    assert exact(resume(store, workers=0)) == exact(Result(undisturbed))


RAY = """
import sys, warnings
warnings.simplefilter("ignore")
from gainstage.sweep import resume
resume(sys.argv[1], backend="ray", workers=2)
"""


def test_on_ray_the_rows_are_the_same(undisturbed, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'gainstage[cluster]'")
    store = with_its_plan(undisturbed, tmp_path / "store")
    path = os.pathsep.join(entry for entry in sys.path if entry)
    subprocess.run([sys.executable, "-c", RAY, str(store)], env={**os.environ, "PYTHONPATH": path}, check=True)
    assert exact(Result(store)) == exact(Result(undisturbed))


def test_the_rows_are_those_of_trainings_that_work(undisturbed):
    found = Result(undisturbed).best("test_accuracy")[0]
    assert found.interval.mean > 0.8
    assert all(row.error is None for row in Result(undisturbed))
