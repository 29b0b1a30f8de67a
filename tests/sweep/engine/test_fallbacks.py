"""What cannot be computed many at once is computed one by one, and the plan says why; what fails is told by cell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from gainstage.errors import SpecError, UnknownNameError
from gainstage.seeding import preserved_rng
from gainstage.sweep import execute, plan
from gainstage.sweep.engine.calibration import kind_of
from gainstage.sweep.engine.proof import Refusal
from sweep_twins import difference, named, spec_of

REFUSED = [
    ("Branching", "vmap: RuntimeError: vmap: It looks like you're attempting to use a Tensor in some"),
    ("Counting", "one by one: its forward changes calls"),
    ("Noisy", "vmap: RuntimeError: vmap: called random operation while in randomness error mode"),
    (
        "Custom",
        "stacked: gradient of layer.weight differs from one by one; vmap: RuntimeError: In order to use an",
    ),
]
MAPPED = ["Scaled", "hooked", "untracked"]


@pytest.mark.parametrize(("model", "why"), REFUSED)
def test_refused_with_the_reason_and_still_the_loops_result(model: str, why: str) -> None:
    spec = spec_of(model, axes={"lr": (0.01, 0.02), "seed": (0, 1)}, steps=10)
    kind = kind_of(spec, spec.cells())
    assert isinstance(kind, Refusal)
    assert why in kind.why
    (chunk,) = {(chunk.mode, chunk.why) for chunk in plan(spec, spec.cells(), workers=1).chunks}
    assert chunk == ("looped", kind.why)
    rows = execute(spec, spec.cells(), mode="vectorised")
    assert {row.mode for row in rows} == {"looped"}
    assert difference(rows, execute(spec, spec.cells(), mode="looped")) == 0


@pytest.mark.parametrize("model", MAPPED)
def test_what_is_no_dense_network_is_mapped(model: str) -> None:
    spec = spec_of(model, axes={"seed": (0, 1)}, steps=10)
    assert getattr(kind_of(spec, spec.cells()), "way", None) == "vmap"


def test_shapes_that_differ_from_seed_to_seed_are_one_by_one() -> None:
    spec = spec_of("random_width", axes={"seed": range(4)}, steps=3)
    rows = execute(spec, spec.cells(), mode="vectorised")
    assert [row.error for row in rows] == [None] * 4
    assert {row.mode for row in rows} == {"looped"}


@pytest.mark.parametrize("mode", ["vectorised", "looped", "auto"])
def test_a_cell_that_cannot_be_built_tells_why_and_the_others_go_on(mode: str) -> None:
    spec = spec_of("failing", axes={"size": (1, 2), "lr": (0.1, 0.2)}, steps=3)
    rows = execute(spec, spec.cells(), mode=mode)
    assert [row.error for row in rows] == [None, None, *["RuntimeError: size 2"] * 2]
    assert [bool(row.curves) for row in rows] == [True, True, False, False]


@pytest.mark.parametrize("mode", ["vectorised", "looped", "auto"])
def test_a_network_that_cannot_run_tells_why(mode: str) -> None:
    spec = spec_of("failing_late", axes={"lr": (0.1, 0.2)}, steps=3)
    for row in execute(spec, spec.cells(), mode=mode):
        assert row.error is not None
        assert row.error.startswith("RuntimeError: mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.parametrize("mode", ["vectorised", "looped"])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nothing", "must return a module, got NoneType"),
        ("lazy", "must give its parameters their shapes, got 'weight'"),
    ],
)
def test_factories_that_return_something_else(model: str, message: str, mode: str) -> None:
    spec = spec_of(model, steps=3)
    (row,) = execute(spec, spec.cells(), mode=mode)
    assert row.error is not None
    assert row.error.startswith("SpecError: Spec: model")
    assert message in row.error


def test_a_batch_norm_of_one_sample_fails_as_torchs_does() -> None:
    spec = spec_of("mlp", fixed={"norm": "batch", "batch_size": 1}, axes={"lr": (0.1, 0.2)}, steps=3)
    for mode in ("vectorised", "looped"):
        assert all("Expected more than 1 value" in str(row.error) for row in execute(spec, spec.cells(), mode=mode))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": named("nothing")}, r"data '.*:nothing' must return gainstage.sweep.Data, got NoneType"),
        ({"data": named("halved")}, "must return without arguments, got TypeError: halved.. missing 2 required"),
        ({"data": named("absent")}, "':absent' must name a function, got NoneType|must name a function, got NoneType"),
        ({"data": "no_such_module:f"}, "must be importable, got ModuleNotFoundError"),
        ({"data": "nowhere/nets.py:f"}, "the file must exist, got 'nowhere/nets.py'"),
        ({"device": "cuda:99"}, "device must be there, got 'cuda:99'"),
        ({"metrics": ("test_accuracy",), "data": named("numbers")}, "'test_accuracy' must have whole-number targets"),
    ],
)
def test_what_concerns_all_cells_is_raised(options: dict[str, Any], message: str) -> None:
    spec = replace(spec_of("mlp"), **options)
    with pytest.raises(SpecError, match=message):
        execute(spec, spec.cells())


def test_a_batch_larger_than_the_data_is_told_by_cell() -> None:
    spec = spec_of("mlp", axes={"batch_size": (16, 65)}, steps=3)
    fine, failed = execute(spec, spec.cells())
    assert fine.error is None
    assert "batch_size must be at most the 64 training samples, got 65" in str(failed.error)


def test_modes_are_known() -> None:
    with pytest.raises(
        UnknownNameError, match=r"mode must be a known one, got 'vectorized'. Did you mean 'vectorised'"
    ):
        execute(spec_of("mlp"), spec_of("mlp").cells(), mode="vectorized")
    assert execute(spec_of("mlp"), ()) == ()


@pytest.mark.parametrize("mode", ["vectorised", "looped", "auto"])
def test_progress_counts_every_cell_once(mode: str) -> None:
    for model, axes in (("mlp", {"lr": (0.1, 1e300, 0.2)}), ("failing", {"size": (1, 2)}), ("Noisy", {"seed": (1, 2)})):
        spec = spec_of(model, axes=axes, steps=5)
        counts: list[int] = []
        execute(spec, spec.cells(), mode=mode, progress=counts.append)
        assert sum(counts) == len(spec.cells())
        assert 0 not in counts


def test_nothing_outside_notices() -> None:
    spec = spec_of("mlp", axes={"seed": (0, 1)}, fixed={"dropout": 0.5, "init": "orthogonal"}, steps=3)
    torch.set_num_threads(2)
    with preserved_rng(5):
        expected = torch.rand(3)
    for mode in ("vectorised", "looped"):
        with preserved_rng(5):
            execute(spec, spec.cells(), mode=mode)
            assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
