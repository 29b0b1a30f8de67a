"""The engine equals the loop: torch's own modules and optimizers, run after run."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gainstage.sweep import Spec, execute
from gainstage.sweep.engine import vectorised
from gainstage.sweep.engine.calibration import kind_of
from sweep_twins import difference, gap, named, spec_of

# name, data, the way it is computed
STRUCTURES = [
    ("mlp", "blobs", {"norm": "batch"}, "stacked"),
    ("mlp", "blobs", {"norm": "layer", "depth": 3}, "stacked"),
    ("mlp", "blobs", {"norm": "none"}, "stacked"),
    ("mlp", "blobs", {"norm": "batch", "dropout": 0.3}, "stacked"),
    ("Tied", "blobs", {}, "stacked"),
    ("Residual", "blobs", {}, "stacked"),
    ("Unused", "numbers", {}, "stacked"),
    ("Scaled", "blobs", {}, "vmap"),
    ("untracked", "blobs", {}, "vmap"),
    ("conv", "images", {}, "vmap"),
]
OPTIMIZERS = [
    {},
    {"momentum": 0.9, "nesterov": True},
    {"optimizer": "adam"},
    {"optimizer": "adamw", "beta1": 0.8, "schedule": "cosine"},
]


@pytest.mark.parametrize("options", OPTIMIZERS, ids=lambda options: options.get("optimizer", "sgd"))
@pytest.mark.parametrize(("model", "data", "fixed", "way"), STRUCTURES, ids=lambda value: str(value)[:12])
def test_the_engine_equals_the_loop(model: str, data: str, fixed: dict, way: str, options: dict) -> None:
    points = [
        {"lr": 0.01, "weight_decay": 0.0, "clip": math.inf, "scale": 1.0, "seed": 3},
        {"lr": 0.02, "weight_decay": 0.05, "clip": 0.5, "scale": 0.7, "seed": 4},
    ]
    spec = spec_of(model, data, points=points, fixed={**fixed, **options, "warmup": 5, "batch_size": 10})
    assert gap(spec) <= 1e-10
    assert getattr(kind_of(spec, spec.cells()), "way", None) == way


@settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
)  # fmt: skip
@given(st.data())
def test_the_engine_equals_the_loop_for_any_settings(data: st.DataObject) -> None:
    model, source, fixed, _way = data.draw(st.sampled_from(STRUCTURES[:6]))
    optimizer = data.draw(st.sampled_from(["sgd", "adam", "adamw"]))
    # Adam divides by √v + ε: of a bias before a batch norm, whose gradient is rounding alone, coupled weight decay λ
    # makes a recursion that grows by ηλ/ε a step, in torch as here.
    decays = [0.0] if optimizer == "adam" and model in ("mlp", "Tied") else [0.0, 1e-3, 0.1]
    rates = st.floats(1e-4, 0.05 if optimizer == "sgd" else 0.005)
    point = st.fixed_dictionaries({
        "lr": rates,
        "momentum": st.sampled_from([0.0, 0.5, 0.9]),
        "weight_decay": st.sampled_from(decays),
        "clip": st.sampled_from([math.inf, 1.0, 0.01]),
        "scale": st.floats(0.3, 1.2),
        "init": st.sampled_from([None, "he_normal", "orthogonal", "auto"]),
    })  # fmt: skip
    points = data.draw(st.lists(point, min_size=1, max_size=3))
    common = {
        "optimizer": optimizer,
        "nesterov": data.draw(st.booleans()),
        "schedule": data.draw(st.sampled_from(["constant", "linear", "cosine"])),
        "warmup": data.draw(st.integers(0, 20)),
        # Of a few samples, batch norm divides by what is left of their difference: any rounding grows.
        "batch_size": data.draw(st.integers(8, 40)),
        **({"data_seed": 1} if data.draw(st.booleans()) else {}),
    }
    points = [{**own, "seed": place} for place, own in enumerate(points)]
    assert gap(spec_of(model, source, points=points, fixed={**fixed, **common})) <= 1e-10


@pytest.mark.parametrize(("model", "data", "fixed", "way"), STRUCTURES, ids=lambda value: str(value)[:12])
def test_in_float32_what_differs_is_rounding(model: str, data: str, fixed: dict, way: str) -> None:
    spec = spec_of(model, data, axes={"lr": (0.01, 0.03), "seed": (0, 1)}, fixed=fixed, dtype="float32")
    assert gap(spec) <= 2e-4


def test_means_of_squares_and_losses_of_ones_own() -> None:
    for loss in (None, named("halved")):
        spec = spec_of("mlp", "numbers", axes={"lr": (0.01, 0.05)}, fixed={"norm": "batch"}, loss=loss)
        assert gap(spec) <= 1e-10


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    spec = spec_of("mlp", axes={"lr": (0.01, 0.1, 1e300), "seed": range(3)}, fixed={"norm": "batch", "dropout": 0.2})
    cells = spec.cells()
    together = execute(spec, cells, mode="vectorised")
    for size in (1, 2, 4):
        parts = [execute(spec, cells[at : at + size], mode="vectorised") for at in range(0, len(cells), size)]
        assert difference([row for part in parts for row in part], together) <= 1e-10
    assert difference(execute(spec, cells[::-1], mode="vectorised")[::-1], together) <= 1e-10


def diverging() -> Spec:
    # Some at once, some later, some never, neighbours in between; 0.9 because momentum delays it.
    rates = (0.01, 1e300, 3.0, 0.02, 1e12, 100.0, 0.03)
    return spec_of("Residual", axes={"lr": rates, "momentum": (0.0, 0.9)}, stop={"factor": 50.0})


def test_diverged_runs_end_as_in_the_loop_and_their_neighbours_go_on() -> None:
    spec = diverging()
    assert gap(spec) <= 1e-10
    rows = execute(spec, spec.cells(), mode="vectorised")
    ended = [row.diverged_at for row in rows]
    assert len({step for step in ended if step is not None}) >= 3
    assert None in ended
    for row in rows:
        curve = row.curves["train_loss"]
        last = math.inf if row.diverged_at is None else row.diverged_at
        assert [math.isnan(value) for at, value in zip(row.steps, curve, strict=True) if at > last] == [
            True for at in row.steps if at > last
        ]
        if row.diverged_at is None:
            assert all(map(math.isfinite, curve))


@pytest.mark.parametrize("patience", [2, 16, 1000])
def test_looking_seldom_changes_nothing(monkeypatch: pytest.MonkeyPatch, patience: int) -> None:
    spec = diverging()
    expected = execute(spec, spec.cells(), mode="vectorised")
    monkeypatch.setattr(vectorised, "_LOOKS", {"cpu": patience})
    assert difference(execute(spec, spec.cells(), mode="vectorised"), expected) <= 1e-10


def test_the_stop_rule_is_the_first_losses_factor_or_an_absolute_one() -> None:
    plain = spec_of("mlp", axes={"lr": (0.01, 2.0)}, measure=1, steps=30)
    above = spec_of("mlp", axes={"lr": (0.01, 2.0)}, measure=1, steps=30, stop={"above": 1.5})
    calm, wild = (row.curves["batch_loss"] for row in execute(plain, plain.cells(), mode="looped"))
    first = next(step for step, loss in enumerate(wild) if loss > 1.5)
    assert max(calm) < 1.5
    for mode in ("looped", "vectorised"):
        rows = execute(above, above.cells(), mode=mode)
        assert [row.diverged_at for row in rows] == [None, first]
        # What broke the rule is still seen.
        assert rows[1].curves["batch_loss"][first] == pytest.approx(wild[first])


def test_parameters_that_overflow_in_the_last_update_have_diverged() -> None:
    for mode in ("looped", "vectorised"):
        spec = spec_of("mlp", axes={"lr": (0.1, 1e308)}, steps=1, measure=1, metrics=("weight_norm",))
        scaled = spec_of("mlp", axes={"lr": (0.1, 1e308)}, steps=1, measure=1, metrics=("weight_norm",),
                         fixed={"scale": 1e5})  # fmt: skip
        assert [row.diverged_at for row in execute(scaled, scaled.cells(), mode=mode)] == [None, 1]
        assert execute(spec, spec.cells()[:1], mode=mode)[0].diverged_at is None
