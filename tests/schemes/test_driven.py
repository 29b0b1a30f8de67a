"""With a batch, one pass in the order of execution sets every layer that it reaches to its level."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import MODELS, vectors
from torch import nn

import gainstage as gs
from gainstage import schemes, theory
from gainstage.schemes.initialize import initialize_subject
from gainstage.schemes.targets import saturating_level
from zoo.case import SMALL
from zoo.cases import CASES

pytestmark = pytest.mark.filterwarnings("ignore")
# Lazy weights have no shape yet, and are refused; a model that shrinks its weights as it runs has no level.
OF_TORCH = [name for name in CASES if name.startswith("torch:") and "lazy" not in name and "state-of" not in name]


def levels(model: nn.Module, batch: Any) -> dict[str, float | None]:
    return {layer.name: layer.rms for layer in gs.record(model, batch, backward=False).layers}


@pytest.mark.parametrize("name", OF_TORCH)
def test_every_layer_that_is_reached_has_its_level(name: str) -> None:
    parts = CASES[name].parts(SMALL)
    report = initialize_subject(parts.subject(), driven=True)
    found = {layer.name: layer.rms for layer in gs.record(parts.subject()).layers}
    for row in report.rows:
        assert row.quantity == "rms"
        assert row.after == pytest.approx(row.target)
        assert found[row.layer] == pytest.approx(row.target, rel=0.05)


@pytest.mark.parametrize("scheme", ["auto", "auto_uniform", "lsuv"])
def test_levels_hold_on_a_model_that_theory_knows_nothing_of(scheme: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=4),
        nn.Hardswish(inplace=True), nn.ConvTranspose2d(8, 8, 4, stride=2), nn.Softsign(), nn.Flatten(),
        nn.Linear(512, 16), nn.SELU(), nn.Linear(16, 3),
    )  # fmt: skip
    batch = 5 + 3 * torch.randn(32, 3, 10, 10)
    with torch.no_grad():
        shape = model[:8](batch).shape
    model[8] = nn.Linear(shape[1], 16)
    before = levels(model, batch)
    report = gs.initialize(model, batch, scheme=scheme)
    found = levels(model, batch)
    assert len(report.rows) == 5
    for row in report.rows:
        assert found[row.layer] == pytest.approx(row.target, rel=0.02)
        assert before[row.layer] != pytest.approx(row.target, rel=0.1)


def test_other_schemes_are_left_as_they_are_drawn() -> None:
    one, other = nn.Linear(8, 3), nn.Linear(8, 3)
    gs.initialize(one, 100 * vectors()[0], scheme="he_normal")
    gs.initialize(other, vectors()[0], scheme="he_normal")
    assert torch.equal(one.weight, other.weight)
    gs.initialize(one, 100 * vectors()[0])
    gs.initialize(other, vectors()[0])
    assert float(other.weight.norm() / one.weight.norm()) > 30


def test_packed_projections_are_set_each() -> None:
    model, (inputs, targets) = MODELS["attention"]()
    gs.initialize(model, (inputs, targets))
    found = levels(model, (inputs, targets))
    assert [found[f"attention.in_proj_weight[{letter}]"] for letter in "qkv"] == pytest.approx([1, 1, 1], rel=1e-3)


class Stream(nn.Module):
    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Linear(32, 64)
        self.inner = nn.ModuleList(nn.Linear(64, 64) for _ in range(blocks))
        self.outer = nn.ModuleList(nn.Linear(64, 64) for _ in range(blocks))
        self.head = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for inner, outer in zip(self.inner, self.outer, strict=True):
            x = x + outer(F.relu(inner(x)))
        return self.head(x)


@pytest.mark.parametrize("data", [True, False])
def test_a_stream_grows_by_no_more_than_the_root_of_two(data: bool) -> None:
    torch.manual_seed(0)
    model, batch = Stream(30), torch.randn(64, 32)
    report = gs.initialize(model, batch if data else None)
    found = levels(model, batch)
    assert found["stem"] == pytest.approx(1, rel=0.2)
    assert found[":add#16"] == pytest.approx(1.26, rel=0.3)
    row = next(row for row in report.rows if row.layer == "outer.7")
    assert "times 0.183: the end of a residual branch" in row.note
    if data:
        assert row.target == pytest.approx(30**-0.5)
    # The control: without the scale the stream grows by the root of two with each block.
    gs.initialize(model, batch, scheme="he_normal")
    assert levels(model, batch)[":add#16"] > 50


def test_a_stream_that_a_norm_levels_is_not_scaled() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=False)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    rows = gs.initialize(model, torch.randn(4, 6, 16)).rows
    assert {row.target for row in rows} == {1.0}
    pre = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True), 3, enable_nested_tensor=False
    )
    scaled = [row.layer for row in gs.initialize(pre, torch.randn(4, 6, 16)).rows if row.target != 1]
    assert len(scaled) == 6
    assert all(name.endswith(("out_proj", "linear2")) for name in scaled)


def test_a_saturating_level_lets_gradients_grow_at_most_twofold() -> None:
    tanh = theory.activation("tanh")
    for depth in (1, 5, 30, 100):
        q = saturating_level(tanh, depth) ** 2
        weight_var = q / theory.second_moment(tanh, q)
        assert theory.q_map(q, tanh, weight_var) == pytest.approx(q)
        assert theory.chi1(q, tanh, weight_var) ** depth <= 2 * (1 + 1e-4)
    assert saturating_level(theory.activation("sigmoid"), 50) == 1.0


def test_a_layer_whose_output_is_zero_is_left_and_said() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Threshold(1e9, 0.0), nn.Linear(8, 3))
    report = gs.initialize(model, vectors())
    assert report.rows[1].after == 0.0
    assert "its output is zero" in report.rows[1].note
    assert float(model[2].weight.std()) > 0.1
    assert "its output is zero" in str(report)


def test_nothing_but_the_weights_changes_and_all_or_nothing() -> None:
    model, batch = MODELS["cnn"]()
    running = model[1].running_mean.clone()
    state = torch.get_rng_state()
    gs.initialize(model, batch)
    assert torch.equal(model[1].running_mean, running)
    assert torch.equal(torch.get_rng_state(), state)

    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.calls = nn.Linear(8, 3), [0]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = self.linear(x)
            if not out.is_meta:
                raise RuntimeError("as planned")
            return out

    failing = Failing()
    weight = failing.linear.weight.detach().clone()
    with pytest.raises(gs.GainstageError, match="as planned"):
        gs.initialize(failing, vectors())
    assert torch.equal(failing.linear.weight, weight)


def test_every_name_is_known() -> None:
    assert "lsuv" in schemes.scheme_names()


def test_a_generator_is_a_seed() -> None:
    one, other, third = (nn.Linear(8, 8) for _ in range(3))
    generator, batch = torch.Generator().manual_seed(5), vectors()
    gs.initialize(one, batch, seed=generator)
    gs.initialize(other, batch, seed=generator)
    gs.initialize(third, batch, seed=torch.Generator().manual_seed(5))
    assert torch.equal(one.weight, third.weight)
    assert not torch.equal(one.weight, other.weight)


def test_a_plan_needs_no_memory_for_weights() -> None:
    with torch.device("meta"):
        layer = nn.TransformerEncoderLayer(4096, 32, 16384, batch_first=True, norm_first=True)
        model = nn.TransformerEncoder(layer, 24, enable_nested_tensor=False)
    plans = schemes.planned(gs.Subject(model, torch.randn(1, 8, 4096)))
    assert len(plans) == 24 * 4
    assert sum(p.numel() for p in model.parameters()) > 4e9
    assert plans[1].scale == pytest.approx(48**-0.5)


def test_what_is_left_is_known_by_what_it_does() -> None:
    parts = CASES["torch:class-token-and-positions"].parts(SMALL)
    reasons = dict(gs.initialize(parts.model, parts.batch).untouched)
    assert "tokens put beside the signal" in reasons["token"]
    assert "positions" in reasons["positions"]
    parts = CASES["torch:affine-by-hand"].parts(SMALL)
    reasons = dict(gs.initialize(parts.model, parts.batch).untouched)
    assert "a scale" in reasons["scale"]


def test_a_model_that_was_emptied_from_meta_gets_the_same_weights() -> None:
    def build() -> nn.Module:
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
        return nn.Sequential(nn.Linear(8, 16), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))

    built, batch = build(), torch.randn(4, 5, 8)
    with torch.device("meta"):
        emptied = build()
    emptied.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in emptied.parameters():
            parameter.fill_(float("nan"))  # as uninitialized memory may be
    for norm in (module for module in emptied.modules() if isinstance(module, nn.LayerNorm)):
        norm.reset_parameters()
    for scheme in ("auto", "he_normal", "orthogonal"):
        reports = [gs.initialize(model, batch, scheme=scheme) for model in (built, emptied)]
        assert [row.after for row in reports[0].rows] == [row.after for row in reports[1].rows]
        for one, other in zip(built.parameters(), emptied.parameters(), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("loss", "targets", "level"),
    [
        (None, torch.randint(3, (32,)), 1.0),
        (None, torch.randn(32, 3), 0.25),
        (None, None, 1.0),
        (nn.MSELoss(), torch.randn(32, 3), 0.25),
        (lambda outputs, targets: ((outputs - targets) ** 2).mean(), torch.randn(32, 3), 0.25),
        (nn.BCEWithLogitsLoss(), torch.rand(32, 3), 1.0),
        (nn.L1Loss(), torch.randn(32, 3), 1.0),
        (lambda outputs, targets: outputs.no_such_thing, torch.randn(32, 3), 1.0),
    ],
)
def test_the_read_out_is_set_by_its_loss(loss, targets, level: float) -> None:
    inputs = torch.randn(32, 8)
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3))
    batch = inputs if targets is None else (inputs, targets)
    report = initialize_subject(gs.Subject(model, batch, loss), driven=True)
    assert [row.target for row in report.rows] == [1.0, level]
    assert ("by its loss" in report.rows[1].note) == (level != 1)
    with torch.no_grad():
        assert float(model(inputs).square().mean().sqrt()) == pytest.approx(level, rel=0.1)


def test_targets_that_no_loss_accepts_do_not_matter() -> None:
    inputs = torch.randn(32, 8)
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3))
    assert gs.initialize(model, (inputs, torch.zeros(7, 5, 2))).rows[1].target == 1
