"""Specifications: what they accept, which cells they have, and what their hashes depend on."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.errors import SpecError, UnknownNameError
from gainstage.sweep import Cell, Spec, Stop
from gainstage.sweep.examples import blobs, blobs_spec, mlp
from gainstage.sweep.toml import tomllib, written


def test_the_cells_are_the_product_of_points_and_axes_over_the_fixed_values() -> None:
    spec = blobs_spec(axes={"lr": (1, 2), "seed": range(3)}, points=[{"width": 4}, {"width": 8, "depth": 1}])
    found = [dict(cell.values) for cell in spec.cells()]
    assert found == [
        {"batch_size": 16, **point, "lr": lr, "seed": seed}
        for point in ({"width": 4}, {"width": 8, "depth": 1})
        for lr in (1.0, 2.0)
        for seed in range(3)
    ]
    assert blobs_spec().cells() == (Cell.of({"batch_size": 16}),)


@given(st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.floats() | st.text()))
def test_a_key_depends_on_the_values_alone(values: dict[str, Any]) -> None:
    turned = dict(reversed(values.items()))
    assert Cell.of(values).key == Cell.of(turned).key
    assert Cell.of({**values, "more": 1}).key != Cell.of(values).key


def test_keys_are_those_of_other_processes_and_machines() -> None:
    values = {"lr": 0.1, "width": 64, "norm": "batch", "widths": [1, 2], "bias": True, "init": None}
    # regression: a stored sweep must find its cells again
    assert Cell.of(values).key == "5ab049922ea7ed22"
    code = f"from gainstage.sweep import Cell; print(Cell.of({values!r}).key)"
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        )  # fmt: skip
        assert run.stdout.strip() == Cell.of(values).key


def test_equal_numbers_have_equal_keys_whatever_their_type() -> None:
    one = blobs_spec(axes={"lr": (1, 0.5), "seed": np.arange(2), "width": [np.int64(8)]})
    other = blobs_spec(axes={"lr": np.array([1.0, 0.5]), "seed": (0, 1), "width": (8,)})
    assert one == other
    assert one.hash == other.hash
    assert blobs_spec(fixed={"init": "torch"}).cells() == blobs_spec(fixed={"init": None}).cells()


CHANGES: list[dict[str, Any]] = [
    {"steps": 101}, {"measure": 11}, {"metrics": ("train_loss",)}, {"stop": {"factor": 10}}, {"dtype": "float64"},
    {"model": "gainstage.sweep.examples:blobs"}, {"data": mlp}, {"loss": "torch.nn.functional:mse_loss"},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_the_recipe_depends_on_all_that_makes_a_row(change: dict[str, Any]) -> None:
    spec = blobs_spec(axes={"seed": (1, 2)})
    assert replace(spec, **change).recipe != spec.recipe


def test_the_recipe_does_not_depend_on_name_and_cells_and_the_hash_does_on_the_cells() -> None:
    spec = blobs_spec(axes={"seed": (1, 2)})
    larger = replace(spec, axes={"seed": (1, 2, 3)}, name="other")
    assert larger.recipe == spec.recipe
    assert larger.hash != spec.hash
    assert replace(spec, name="other").hash == spec.hash == replace(spec, axes={"seed": (2, 1)}).hash
    assert {cell.key for cell in spec.cells()} < {cell.key for cell in larger.cells()}


def test_changed_source_is_another_recipe_and_a_moved_file_is_not(tmp_path: Path) -> None:
    source = "from gainstage.sweep.examples import blobs, mlp\n"
    hashes = []
    for folder, text in (("a", source), ("b", source), ("c", source + "# changed\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "nets.py").write_text(text)
        place = tmp_path / folder / "nets.py"
        hashes.append(blobs_spec(model=f"{place}:mlp", data=f"{place}:blobs", axes={"width": (4,)}).hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_measured_steps() -> None:
    assert blobs_spec(steps=10, measure=4).measured == (0, 4, 8, 10)
    assert blobs_spec(steps=10, measure=100).measured == (0, 10)
    assert blobs_spec(steps=10, measure=(7, 3, 3)).measured == (3, 7)


def test_toml_there_and_back(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text("from gainstage.sweep.examples import blobs, mlp\n")
    text = """
name = "stable rates"
model = "nets.py:mlp"
data = "nets.py:blobs"
steps = 30
measure = [0, 30]
metrics = ["train_loss"]
stop = {factor = 100}
fixed = {batch_size = 16, norm = "batch"}

[axes]
lr = [1, 1e-5]
width = [8, 16]

[[points]]
init = "he_normal"
[[points]]
scale = 2
"""
    (tmp_path / "sweep.toml").write_text(text)
    spec = Spec.from_toml(tmp_path / "sweep.toml")
    assert spec.model == f"{tmp_path / 'nets.py'}:mlp"
    assert (spec.axes["lr"], spec.stop, spec.measured) == ((1.0, 1e-5), Stop(factor=100.0), (0, 30))
    assert len(spec.cells()) == 8
    (tmp_path / "again.toml").write_text(spec.to_toml())
    assert Spec.from_toml(tmp_path / "again.toml") == spec


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"axes": {"lr": (-1,)}}, "Spec: lr must be a number of at least 0, got -1"),
        ({"axes": {"lr": (math.nan,)}}, "Spec: lr must be a number of at least 0, got nan"),
        ({"axes": {"seed": (0.5,)}}, "Spec: seed must be a whole number of at least 0, got 0.5"),
        ({"axes": {"batch_size": (True,)}}, "Spec: batch_size must be a whole number of at least 1, got True"),
        ({"fixed": {"clip": 0}}, "Spec: clip must be a number above 0, got 0"),
        ({"axes": {"lr": "0.1"}}, "Spec: axis 'lr' must be a list of values, got '0.1'"),
        ({"axes": {"lr": ()}}, "Spec: axis 'lr' must have values, got none"),
        ({"steps": 0}, "Spec: steps must be a whole number of at least 1, got 0"),
        ({"measure": 0}, "Spec: measure must be at least 1"),
        ({"measure": (5, 101)}, r"Spec: measure must lie within 0 and steps \(100\)"),
        ({"measure": ()}, r"Spec: measure must lie within 0 and steps \(100\)"),
        ({"dtype": "float16", "device": "tpu"}, "dtype must be one of .*'float16'; device must be cpu.*'tpu'"),
        ({"stop": {"factor": 0.5}}, "Spec: stop must have a factor above 1"),
        ({"axes": {"lr": (1,)}, "points": [{"lr": 2}]}, "names must be either axes or in points, got 'lr' in both"),
        ({"model": "nets.py"}, "a reference must be file.py:function or package.module:function, got 'nets.py'"),
        ({"model": lambda: None}, "Spec: a function must be importable by its name, got '.*<lambda>'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        blobs_spec(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metrics": ("trainloss",)}, "metric must be a known one, got 'trainloss'. Did you mean 'train_loss'?"),
        ({"fixed": {"init": "he"}}, "init must be a known one, got 'he'. Did you mean 'he_normal'?"),
        ({"fixed": {"optimizer": "adm"}}, "optimizer must be a known one, got 'adm'. Did you mean 'adam'?"),
        ({"fixed": {"schedule": "cosin"}}, "Did you mean 'cosine'?"),
        ({"stop": {"facter": 2}}, "stop rule must be a known one, got 'facter'. Did you mean 'factor'?"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message.replace("?", r"\?")):
        blobs_spec(**fields)


def test_a_name_must_be_reserved_or_a_keyword_of_the_factory() -> None:
    with pytest.raises(
        UnknownNameError, match=r"value of 'blobs' must be a known one, got 'widht'. Did you mean 'width'"
    ):
        blobs_spec(axes={"widht": (8,)}).cells()
    with pytest.raises(UnknownNameError, match=r"got 'learning_rate'. Known: inputs, classes"):
        blobs_spec(axes={"learning_rate": (8,)}).cells()


def test_cells_must_differ() -> None:
    with pytest.raises(SpecError, match="cells must differ, got 3 of which 2 do"):
        blobs_spec(axes={"lr": (1, 1.0, 2)}).cells()


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"from_toml: the file must be readable, got '.*none.toml' \(No such file"):
        Spec.from_toml(tmp_path / "none.toml")
    for text, message in (
        ("name = ", "must be TOML, got: "),
        ('name = "n"\nstesp = 3', "key of bad.toml must be a known one, got 'stesp'. Did you mean 'steps'"),
        ('name = "n"', "must have model, data, got none"),
    ):
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises((SpecError, UnknownNameError), match=message):
            Spec.from_toml(tmp_path / "bad.toml")
    with pytest.raises(SpecError, match=r"fixed.init must hold numbers, .*got None"):
        blobs_spec(fixed={"init": None}).to_toml()


toml_values = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=6), toml_values, max_size=4))
def test_what_is_written_as_toml_is_read_as_the_same(content: dict[str, Any]) -> None:
    assert tomllib.loads(written(content)) == content


def test_a_specification_is_plain_data() -> None:
    spec = blobs_spec(axes={"lr": (0.1,)})
    assert (spec.model, spec.data) == ("gainstage.sweep.examples:mlp", "gainstage.sweep.examples:blobs")
    assert json.loads(json.dumps([spec.axes, spec.fixed]))
    assert Spec(name="n", model=mlp, data=blobs).model == spec.model
