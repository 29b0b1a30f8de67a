"""Every example in a docstring of `numerics` and `theory` runs, and every public function has one."""

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import gainstage.numerics
import gainstage.theory

MODULES = [
    f"{package.__name__}.{module.name}"
    for package in (gainstage.numerics, gainstage.theory)
    for module in pkgutil.iter_modules(package.__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("package", [gainstage.numerics, gainstage.theory])
def test_public_functions_have_examples(package):
    functions = [getattr(package, name) for name in package.__all__ if inspect.isfunction(getattr(package, name))]
    assert [function.__name__ for function in functions if ">>>" not in (function.__doc__ or "")] == []
    assert [function.__name__ for function in functions if "Returns" not in (function.__doc__ or "")] == []


def test_importing_needs_no_torch():
    source = "import sys, gainstage.theory; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0
