"""The examples run, and show what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("stuck_at_chance.py", ("INI002", "ACT004", "improved: True")),
        ("forgotten_train_mode.py", ("NRM001", "after the fix: no problem found")),
    ],
)
def test_runs_and_shows(name: str, shown: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, str(EXAMPLES / name)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert all(text in done.stdout for text in shown), done.stdout


def test_every_example_is_tried() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"stuck_at_chance.py", "forgotten_train_mode.py"}
