"""`initialize`: the right scheme for what follows, every parameter accounted for, all or nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from models import MODELS, Residual, images, vectors
from torch import nn

import gainstage as gs
from drawing import drawn
from gainstage.errors import InitializationError, SubjectError, UnknownNameError


class Functions(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first, self.norm, self.head, self.function = nn.Linear(8, 64), nn.LayerNorm(64), nn.Linear(64, 3), function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.function(self.norm(self.first(x))))


@pytest.mark.parametrize(
    ("function", "follows", "scheme", "variance"),
    [
        (F.relu, "relu", "he_normal", 2 / 8),
        (torch.relu_, "relu", "he_normal", 2 / 8),
        (lambda x: F.leaky_relu(x, 0.2), "leaky_relu", "he_normal", 1 / (0.52 * 8)),
        (F.gelu, "gelu", "he_normal", 1 / (0.425221 * 8)),
        (F.silu, "silu", "he_normal", 1 / (0.355776 * 8)),
        (F.selu, "selu", "he_normal", 1 / 8),
        (torch.tanh, "tanh", "glorot_normal", 2 / 72),
        (torch.sigmoid, "sigmoid", "glorot_normal", 2 / 72),
        (lambda x: x, "none", "lecun_normal", 1 / 8),
    ],
)
def test_scheme_by_what_follows_through_a_norm(function, follows: str, scheme: str, variance: float) -> None:
    row = drawn(Functions(function), torch.randn(16, 8)).rows[0]

    assert (row.layer, row.follows, row.scheme) == ("first", follows, scheme)
    assert row.target == pytest.approx(math.sqrt(variance), rel=1e-5)
    assert row.after == pytest.approx(row.target, rel=6 / math.sqrt(2 * 512))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_is_named_once_with_a_reason(name: str) -> None:
    torch.manual_seed(0)
    model, batch = MODELS[name]()
    named = [parameter for parameter, _ in model.named_parameters()]
    report = gs.initialize(model, batch)

    assert sorted([*report.initialized, *(path for path, _ in report.untouched)]) == sorted(named)
    assert all(reason for _, reason in report.untouched)
    assert str(report)


def test_fans_of_convolutions_and_of_functional_weights() -> None:
    report = gs.initialize(Residual(), images())
    rows = {row.layer: row for row in report.rows}
    assert (rows["conv1"].fan_in, rows["conv2"].fan_in) == (27, 9)
    functional = gs.initialize(*MODELS["functional"]())
    assert [(row.layer, row.fan_in, row.fan_out) for row in functional.rows] == [("first", 8, 16), ("second", 16, 3)]


def deep(depth: int = 30, width: int = 128) -> nn.Module:
    return nn.Sequential(*[m for _ in range(depth) for m in (nn.Linear(width, width), nn.ReLU())], nn.Linear(width, 10))


def test_a_deep_network_keeps_its_level_and_with_torch_defaults_it_does_not() -> None:
    torch.manual_seed(0)
    model, inputs = deep(), torch.randn(64, 128)
    default = gs.record(model, inputs)
    gs.initialize(model, inputs)
    initialized = gs.record(model, inputs)

    # Three standard deviations of finite width, in ln of the mean square: Var = 5·30/128.
    spread = 3 * math.sqrt(5 * 30 / 128) / 2
    drift = -5 * 30 / (4 * 128)
    level = math.log((initialized.layers[-2].rms or 0) / (initialized.layers[1].rms or 1))
    assert drift - spread < level < drift + spread
    first, last = (default.layers[i].grad_rms or 0 for i in (0, -3))
    assert first / last < 1e-8


def test_without_a_batch_one_is_made_from_the_first_layer() -> None:
    assert gs.initialize(deep(3)).rows[0].scheme == "he_normal"
    cnn = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    assert [row.layer for row in gs.initialize(cnn).rows] == ["0", "4"]
    with pytest.raises(InitializationError, match=r"Pass one: gs.initialize\(model, batch\)"):
        gs.initialize(MODELS["own loss"]()[0])


def test_one_scheme_for_all_and_uniform_draws() -> None:
    report = gs.initialize(deep(2), scheme="he_uniform")
    assert {row.scheme for row in report.rows} == {"he_uniform"}
    assert {row.scheme for row in gs.initialize(deep(2), scheme="auto_uniform").rows} == {"he_uniform", "lecun_uniform"}


def test_draws_do_not_depend_on_the_order_of_registration() -> None:
    class Swapped(nn.Module):
        def __init__(self, *names: str) -> None:
            super().__init__()
            for name in names:
                self.add_module(name, nn.Linear(8, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(F.relu(self.a(x)))

    one, other = Swapped("a", "b"), Swapped("b", "a")
    drawn(one, vectors()[0], seed=5)
    drawn(other, vectors()[0], seed=5)
    assert torch.equal(one.a.weight, other.a.weight)


def test_frozen_parameters_stay() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    report = gs.initialize(model, vectors())
    assert torch.equal(model[0].weight, before)
    assert dict(report.untouched)["0.weight"] == "frozen (requires_grad is False)"


@pytest.mark.parametrize(
    ("options", "error"),
    [({"batch": torch.randn(4, 5)}, SubjectError), ({"batch": vectors(), "scheme": "xavier"}, UnknownNameError)],
)
def test_nothing_changes_where_it_fails(options: dict[str, object], error: type[Exception]) -> None:
    model = nn.Linear(8, 3)
    state, rng = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    with pytest.raises(error):
        gs.initialize(model, **options)
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert torch.equal(rng, torch.get_rng_state())


def test_buffers_mode_and_random_numbers_stay() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()
    batch = vectors()
    buffers, rng = {k: v.clone() for k, v in model.named_buffers()}, torch.get_rng_state()
    gs.initialize(model, batch)
    assert all(torch.equal(buffers[key], value) for key, value in model.named_buffers())
    assert not model.training
    assert torch.equal(rng, torch.get_rng_state())


@pytest.mark.parametrize("error", [RuntimeError("second pass"), KeyboardInterrupt()])
def test_all_or_nothing_also_where_the_second_pass_fails(error: BaseException) -> None:
    class FailsLater(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            passes.append(1)
            if len(passes) > 1:
                raise error
            return self.linear(x)

    passes: list[int] = []
    model = FailsLater()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises((SubjectError, KeyboardInterrupt)):
        gs.initialize(model, vectors())
    assert len(passes) > 1
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(5, 3)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.a(left) + self.b(right)


LEFT, RIGHT, TARGETS = torch.randn(6, 4), torch.randn(6, 5), torch.zeros(6)


@pytest.mark.parametrize(
    "batch",
    [
        ((LEFT, RIGHT), TARGETS),
        [[LEFT, RIGHT], TARGETS],  # as a DataLoader yields it
        [((LEFT, RIGHT), TARGETS)] * 2,  # a series
        ({"left": LEFT, "right": RIGHT}, TARGETS),
        {"left": LEFT, "right": RIGHT},
        ((LEFT, RIGHT), {"boxes": [1, 2]}),  # targets that no loss of ours would take
    ],
)
def test_batches_of_every_form(batch: object) -> None:
    assert len(gs.initialize(TwoInputs(), batch).initialized) == 4


def test_a_transformer_in_eval_mode_is_seen_through_its_fused_layers() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    fused = torch.backends.mha.get_fastpath_enabled()
    rows = [gs.initialize(m, torch.randn(4, 5, 8)).rows for m in (model.train(), model.eval())]
    assert [[row.layer for row in r] for r in rows] == [[row.layer for row in rows[0]]] * 2
    assert torch.backends.mha.get_fastpath_enabled() is fused


def test_a_layer_that_the_second_pass_does_not_reach_has_no_figure() -> None:
    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.one, self.other = nn.Linear(8, 1), nn.Linear(8, 3), nn.Linear(8, 3)
            nn.init.zeros_(self.gate.weight)
            nn.init.ones_(self.gate.bias)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.one(x) if bool((self.gate(x) == 1).all()) else self.other(x)

    rows = {row.layer: row for row in drawn(Routed(), vectors()).rows}
    assert rows["one"].rms_after is None
    assert rows["one"].after == pytest.approx(rows["one"].target, rel=0.8)


def test_gradients_stay_and_the_same_seed_repeats_in_any_dtype() -> None:
    model, double = nn.Linear(8, 3), nn.Linear(8, 3).double()
    model(vectors()[0]).sum().backward()
    gradient = model.weight.grad
    drawn(model, vectors(), seed=7)
    drawn(double, vectors()[0].double(), seed=7)
    assert model.weight.grad is gradient
    assert torch.equal(model.weight.double(), double.weight)
    assert not model.bias.any()


def test_the_report_is_a_table_with_notes_and_reasons() -> None:
    torch.manual_seed(0)
    text = repr(gs.initialize(*MODELS["looped"]()))
    assert "inner: used 3 times; the first use decides" in text
    assert text.startswith("layer  followed by  scheme")
    assert text.endswith("4 parameters initialized, all.")
    frozen = nn.Linear(8, 3).requires_grad_(False)
    assert "weight, bias: frozen (requires_grad is False)" in str(gs.initialize(frozen, vectors()))
