"""What follows a layer is read off the trace: through norms, functions, in-place operations and sums."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from models import MODELS, Residual, Tied, images, vectors
from torch import nn

import gainstage as gs
from gainstage.schemes import Plan, plan


def plans(model: nn.Module, batch: object, name: str = "auto") -> dict[str, Plan]:
    return {entry.layer: entry for entry in plan(gs.record(model, batch), name)}


class Net(nn.Module):
    """Layers, and a function that runs them."""

    def __init__(self, run: Callable[..., torch.Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(self, x)


def test_a_convolution_before_a_norm_dropout_pooling_and_relu() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.1), nn.MaxPool2d(2), nn.ReLU(inplace=True),
        nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Flatten(), nn.Linear(4 * 6 * 6, 3),
    )  # fmt: skip
    found = plans(model, images())
    assert [(p.follows, p.scheme.name) for p in found.values()] == [
        ("relu", "he_normal"), ("none", "lecun_normal"), ("none", "lecun_normal"),
    ]  # fmt: skip
    assert found["0"].variance == pytest.approx(2 / 27)
    # Kernel 2, stride 2: an output of the transposed convolution is reached by one tap from each of 8 channels.
    assert found["5"].fan_in == 8


def test_a_layer_that_ends_in_a_sum_has_nothing_behind_it() -> None:
    found = plans(Residual(), images())
    assert {name: p.follows for name, p in found.items()} == {"conv1": "relu", "conv2": "none", "head": "none"}


def test_a_layer_that_is_normed_before_an_activation_and_summed_too_counts_as_activated() -> None:
    def run(net: Net, x: torch.Tensor) -> torch.Tensor:
        stem = net.stem(x)
        return stem + net.inner(F.relu(net.norm(stem)))

    found = plans(Net(run, stem=nn.Linear(8, 8), norm=nn.LayerNorm(8), inner=nn.Linear(8, 8)), vectors())
    assert (found["stem"].follows, found["inner"].follows) == ("relu", "none")


def test_concatenated_features_are_followed_into_every_norm_that_reads_them() -> None:
    def run(net: Net, x: torch.Tensor) -> torch.Tensor:
        first = net.first(x)
        second = net.second(F.relu(net.norm1(torch.cat([x, first], 1))))
        return net.head(F.relu(net.norm2(torch.cat([x, first, second], 1))))

    layers = {
        "first": nn.Linear(8, 8), "norm1": nn.BatchNorm1d(16), "second": nn.Linear(16, 8),
        "norm2": nn.BatchNorm1d(24), "head": nn.Linear(24, 3),
    }  # fmt: skip
    found = plans(Net(run, **layers), vectors())
    assert [p.follows for p in found.values()] == ["relu", "relu", "none"]


def test_prelu_counts_with_its_learned_slope() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.PReLU(8, init=0.5), nn.Linear(8, 3))
    # He et al. 2015, equation 15: Var W = 2/((1 + a²)·fan_in).
    assert plans(model, vectors())["0"].variance == pytest.approx(2 / (1.25 * 8))


def test_an_activation_without_a_known_gain_is_said() -> None:
    found = plans(Net(lambda net, x: net.b(torch.sin(net.a(x))), a=nn.Linear(8, 8), b=nn.Linear(8, 3)), vectors())
    assert (found["a"].follows, found["a"].scheme.name) == ("sin", "lecun_normal")
    assert found["a"].note == "no gain is known for sin; treated as if nothing followed"
    assert found["b"].note == ""


def test_a_weight_that_is_used_three_times_is_planned_once_and_that_is_said() -> None:
    found = plans(*MODELS["looped"]())
    assert [(p.layer, p.follows) for p in found.values()] == [("inner", "tanh"), ("head", "none")]
    assert found["inner"].note == "used 3 times; the first use decides"


def test_a_head_tied_to_an_embedding_keeps_its_weight() -> None:
    model = Tied()
    before = model.out.weight.clone()
    report = gs.initialize(model, vectors())
    assert torch.equal(before, model.out.weight)
    assert dict(report.untouched)["embedding.weight"].startswith("an embedding")


def test_one_scheme_for_all_takes_the_gain_of_what_follows() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    found = plans(model, vectors(), "he_uniform")
    gains = [p.gain for p in found.values()]
    assert gains == pytest.approx([1.592537, math.sqrt(2), 1.0], rel=1e-6)
    assert {p.scheme.name for p in found.values()} == {"he_uniform"}
    assert [p.gain for p in plans(model, vectors(), "glorot_normal").values()] == [1, 1, 1]


def test_packed_projections_have_the_fans_of_one() -> None:
    packed = plans(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.randn(4, 5, 8), "glorot_normal")
    assert (packed["self_attn.in_proj_weight[q]"].fan_in, packed["self_attn.in_proj_weight[q]"].fan_out) == (8, 8)
    assert packed["self_attn.in_proj_weight[q]"].variance == pytest.approx(2 / 16)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda: nn.utils.weight_norm(nn.Linear(8, 3)), "computes its weight"),
        (lambda: nn.utils.spectral_norm(nn.Linear(8, 3)), "computes its weight"),
        (lambda: Net(lambda net, x: F.linear(x, net.l.weight * 0.1, net.l.bias), l=nn.Linear(8, 3)), "computes its"),
        (lambda: Net(lambda net, x: net.l(x, x), l=nn.Bilinear(8, 8, 3)), "weight was left|bilinear"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 3)), "parametrized|weight was left"),
    ],
)
def test_what_has_no_fans_of_its_own_keeps_its_values(layer: Callable[[], nn.Module], reason: str) -> None:
    model = layer()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    report = gs.initialize(model, vectors())
    assert report.initialized == ()
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    assert all(re.search(reason, why) for _, why in report.untouched)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_recurrent_layers_are_left_alike_whatever_kernel_runs_them(name: str) -> None:
    report = gs.initialize(*MODELS[name]())
    assert set(report.initialized) == {"head.weight", "head.bias"}
    assert {why for _, why in report.untouched} == {"a recurrent layer: torch's own initialization is kept"}
