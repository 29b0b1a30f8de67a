"""Every example in a docstring of `norm` runs, and every public layer and function of `norm.layers` has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest
from torch import nn

import gainstage.norm
from gainstage.norm import layers

MODULES = [module.name for module in pkgutil.walk_packages(gainstage.norm.__path__, "gainstage.norm.")]
# Parametrizations are built by the functions of their names, which show them.
BUILT_BY_FUNCTIONS = {"WeightNorm", "WeightStandardization", "ScaledWeightStandardization"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_public_names_are_documented() -> None:
    entries = {name: getattr(layers, name) for name in layers.__all__ if callable(getattr(layers, name))}
    assert len(entries) == len(layers.__all__) - 2
    assert [name for name, entry in entries.items() if "References" not in (entry.__doc__ or "")] == ["normal_p_norm"]
    shown = set(entries) - BUILT_BY_FUNCTIONS
    assert [name for name in sorted(shown) if ">>>" not in (entries[name].__doc__ or "")] == []
    modules = [
        name for name in sorted(shown) if inspect.isclass(entries[name]) and issubclass(entries[name], nn.Module)
    ]
    assert [name for name in modules if "Shape:" not in (entries[name].__doc__ or "")] == []


def test_importing_the_package_needs_no_torch() -> None:
    source = "import sys, gainstage.norm; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0
