"""Targets on disk, and a way to run the command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gainstage.cli import main

FACTORIES = """
import torch
from torch import nn
import gainstage as gs

def layers(depth):
    return [m for _ in range(depth) for m in (nn.Linear(16, 16), nn.ReLU())]

def batch():
    g = torch.Generator().manual_seed(0)
    return torch.randn(64, 16, generator=g), torch.randint(3, (64,), generator=g)

def healthy():
    torch.manual_seed(0)
    return gs.Subject(nn.Sequential(*layers(2), nn.Linear(16, 3)), batch(), name="healthy")

def deep():
    torch.manual_seed(0)
    model = nn.Sequential(*layers(20), nn.Linear(16, 3))
    return model, batch(), nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters())

def softmax():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 3), nn.Softmax(1)), batch(), nn.CrossEntropyLoss()

def idle_bias():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)), batch()

def alone():
    return nn.Sequential(nn.Linear(16, 3))

def broken():
    raise ValueError("no such thing")

def wrong():
    return 3

def misfit():
    return nn.Linear(8, 3), batch()
"""


@pytest.fixture
def factories(tmp_path: Path) -> str:
    """Path of a file of factories."""
    path = tmp_path / "factories.py"
    path.write_text(FACTORIES)
    return str(path)


Outcome = tuple[int, str, str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs the command line in this process: status, standard output, standard error."""

    def call(*arguments: str) -> Outcome:
        status = main(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def spawn() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a process of its own."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gainstage", *arguments], capture_output=True, text=True, check=False
        )

    return call
