"""The fixtures, as a project that has gainstage installed meets them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gainstage

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PLUGIN = "gainstage.integrations.pytest_plugin"
TESTS = """
import pytest, torch
from torch import nn
import gainstage as gs

def batch():
    g = torch.Generator().manual_seed(0)
    return torch.randn(64, 16, generator=g), torch.randint(3, (64,), generator=g)

def softmax():
    return nn.Sequential(nn.Linear(16, 3), nn.Softmax(1))

def test_healthy(assert_trainable):
    assert_trainable(nn.Linear(16, 3), batch())

def test_softmax(assert_trainable):
    assert_trainable(softmax(), batch(), nn.CrossEntropyLoss())

def test_options_override(assert_trainable):
    assert_trainable(softmax(), batch(), nn.CrossEntropyLoss(), ignore="ACT004", fail_on="warning")

def test_report(gainstage_check):
    assert not gainstage_check(gs.Subject(softmax(), batch(), nn.CrossEntropyLoss()), select="ACT").ok
"""


def pytest_of(folder: Path, *arguments: str) -> str:
    """What pytest prints; the plugin by name, so that the test holds also where the package is not installed anew."""
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "pytest", "-p", PLUGIN, "-p", "no:cacheprovider", *arguments, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
    return done.stdout + done.stderr


def test_the_findings_are_the_message_and_the_line_is_the_tests_own(tmp_path: Path) -> None:
    (tmp_path / "test_models.py").write_text(TESTS)
    out = pytest_of(tmp_path)
    assert "1 failed, 3 passed" in out
    assert "NotTrainable" in out
    assert "ACT004" in out
    assert "test_models.py:17: NotTrainable" in out
    assert "api.py:" not in out


def test_settings_of_the_project_hold(tmp_path: Path) -> None:
    for name, setting in (("some", "ignore = ['ACT004']"), ("lenient", "fail-on = 'never'")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"test_{name}.py").write_text(TESTS)
        (tmp_path / name / "pyproject.toml").write_text(f"[tool.gainstage]\n{setting}")
    out = pytest_of(tmp_path)
    assert "1 failed, 7 passed" in out
    assert "test_some.py::test_report" in out


def test_settings_that_cannot_be_used_are_an_error_of_the_fixture(tmp_path: Path) -> None:
    (tmp_path / "test_models.py").write_text("def test(assert_trainable): pass")
    (tmp_path / "pyproject.toml").write_text("[tool.gainstage]\nfail-on = 'nevr'")
    assert "fail-on must be error, warning or never, got 'nevr'" in pytest_of(tmp_path)


def test_loading_the_plugin_imports_no_torch_and_no_rules() -> None:
    code = f"import sys, {PLUGIN}; print(sorted({{'torch', 'numpy', 'rich', 'gainstage.rules'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_entry_point_names_the_plugin() -> None:
    root = Path(gainstage.__file__).parents[2]
    if not (root / "pyproject.toml").is_file():
        pytest.skip("gainstage is installed without its pyproject.toml")
    points = tomllib.loads((root / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert points == {"gainstage": PLUGIN}
    assert importlib.util.find_spec(PLUGIN) is not None
