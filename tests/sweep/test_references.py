"""Functions by name: found again in other processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gainstage.errors import SpecError
from gainstage.sweep.references import fingerprint, reference, resolve


def test_a_function_is_named_and_found() -> None:
    assert reference(json.dumps) == "json:dumps"
    assert resolve("json:dumps") is json.dumps
    assert resolve("pathlib:Path.cwd")() == Path.cwd()


def test_files_are_found_with_their_neighbours_and_two_of_one_name_are_two(tmp_path: Path) -> None:
    for folder, value in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"near_{folder}.py").write_text(f"VALUE = {value}\n")
        (tmp_path / folder / "nets.py").write_text(
            f"from near_{folder} import VALUE\n\n\ndef value():\n    return VALUE\n"
        )
    path = list(sys.path)
    assert [resolve(f"{tmp_path / folder / 'nets.py'}:value")() for folder in "ab"] == [1, 2]
    assert sys.path == path


def test_a_scripts_function_is_named_by_its_file(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from gainstage.sweep.references import reference, resolve\n"
        "def own(): pass\n"
        "print(reference(own)); assert resolve(reference(own)) is own\n"
    )
    run = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert run.stdout.strip() == f"{script.resolve()}:own"


def test_what_cannot_be_found_again_is_told(tmp_path: Path) -> None:
    def closure() -> None: ...

    for function in (closure, lambda: None, "abc".upper):
        with pytest.raises(SpecError, match="a function must be importable by its name"):
            reference(function)
    (tmp_path / "broken.py").write_text("1/0\n")
    for text, message in (
        ("json:absent", "'json:absent' must name a function, got NoneType"),
        ("json:__name__", "must name a function, got str"),
        (f"{tmp_path}/broken.py:f", "must be importable, got ZeroDivisionError: division by zero"),
        (f"{tmp_path}/absent.py:f", "the file must exist, got "),
        ("json.absent:f", "must be importable, got ModuleNotFoundError"),
        ("json", "a reference must be file.py:function"),
    ):
        with pytest.raises(SpecError, match=message):
            resolve(text)


def test_fingerprints_are_of_sources(tmp_path: Path) -> None:
    place = tmp_path / "nets.py"
    place.write_text("def f(): ...\n")
    before = fingerprint(f"{place}:f")
    assert before == fingerprint(f"{place}:f") != fingerprint(f"{place}:g")
    place.write_text("def f(): ...  # changed\n")
    assert fingerprint(f"{place}:f") != before
    assert fingerprint("math:sin") == fingerprint("math:sin")  # compiled: its name
    for text in ("no_such_module:f", f"{tmp_path}/absent.py:f"):
        with pytest.raises(SpecError, match=r"no module 'no_such_module'|the file must exist"):
            fingerprint(text)
