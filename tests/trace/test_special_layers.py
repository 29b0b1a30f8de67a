"""Layers that are called, named or built in unusual ways."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import MODELS, Autocast, Looped, Tied, images, vectors
from torch import nn

import gainstage as gs
from gainstage.trace.records import LayerRecord


class Function(nn.Module):
    def __init__(self, function: Any, **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


def layers_of(model: nn.Module, batch: Any) -> dict[str, LayerRecord]:
    return {layer.name: layer for layer in gs.record(model, batch).layers}


def rms(tensor: torch.Tensor) -> float:
    return float((tensor.detach().double() ** 2).mean().sqrt())


def test_bilinear_sums_over_both_of_its_inputs() -> None:
    model = Function(
        lambda m, x: m.both(m.left(x), m.right(x)),
        left=nn.Linear(8, 4),
        right=nn.Linear(8, 5),
        both=nn.Bilinear(4, 5, 3),
    )
    layer = gs.record(model, vectors()).layers[-1]
    assert (layer.name, layer.fan_in, layer.fan_out, layer.inputs) == ("both", 20, 3, (0, 1))


@pytest.mark.parametrize(
    ("module", "shape", "fans"),
    [
        (nn.Conv2d(4, 8, 3, groups=2), (2, 4, 8, 8), (18, 36)),
        (nn.Conv2d(4, 4, 3, groups=4), (2, 4, 8, 8), (9, 9)),
        (nn.Conv1d(4, 6, 5, stride=2), (2, 4, 16), (20, 15)),
        (nn.ConvTranspose2d(4, 6, 4, stride=2), (2, 4, 8, 8), (16, 96)),
        (nn.ConvTranspose2d(4, 6, 4, stride=2, groups=2), (2, 4, 8, 8), (8, 48)),
        (nn.Linear(7, 5), (2, 7), (7, 5)),
        (nn.Linear(7, 5, bias=False), (2, 3, 7), (7, 5)),
    ],
)
def test_fans_of_maps(module: nn.Module, shape: tuple[int, ...], fans: tuple[float, float]) -> None:
    layer = gs.record(module, torch.randn(shape)).layers[0]
    assert (layer.fan_in, layer.fan_out) == fans


def test_packed_projections_have_the_fans_of_their_parts() -> None:
    layers = layers_of(*MODELS["attention"]())
    packed = layers["attention.in_proj_weight"]
    assert (packed.fan_in, packed.fan_out) == (8, 8)
    assert packed.parameters == ("attention.in_proj_weight", "attention.in_proj_bias")
    assert layers["attention.out_proj"].parameters == ("attention.out_proj.weight", "attention.out_proj.bias")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrap", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_older_parametrizations_are_named_after_their_owner(wrap: Any) -> None:
    model = nn.Sequential(wrap(nn.Linear(8, 5)), nn.Linear(5, 3))
    assert list(layers_of(model, vectors())) == ["0", "1"]


@pytest.mark.parametrize("affine", [True, False])
def test_a_root_mean_square_norm_of_single_operations_is_a_norm(affine: bool) -> None:
    norm = nn.RMSNorm(8, eps=1e-6, elementwise_affine=affine)
    model = nn.Sequential(nn.Linear(8, 8), norm, nn.Linear(8, 3))
    if affine:
        nn.init.constant_(norm.weight, 3.0)
    inputs, targets = vectors()
    layers = layers_of(model, (inputs, targets))

    layer = layers["1"]
    assert (layer.kind, layer.op, layer.inputs) == ("norm", "rms_norm", (0,))
    assert layer.parameters == (("1.weight",) if affine else ())
    assert layer.norm is not None
    assert (layer.norm.type, layer.norm.values_per_statistic, layer.norm.affine) == ("rms", 8, affine)
    assert layer.norm.scale_rms == (pytest.approx(3.0) if affine else None)
    assert layer.rms == pytest.approx(rms(model[:2](inputs)), rel=1e-5)
    assert layers["2"].inputs == (1,)
    assert layers["2"].via == ()


def test_compiled_modules_run_eagerly_also_inside_others() -> None:
    model = Function(lambda m, x: m.head(m.body(x)), body=torch.compile(nn.Linear(8, 8)), head=nn.Linear(8, 3))
    torch._dynamo.reset()
    before = dict(torch._dynamo.utils.counters["frames"])
    assert list(layers_of(model, vectors())) == ["body._orig_mod", "head"]
    assert dict(torch._dynamo.utils.counters["frames"]) == before


@pytest.mark.filterwarnings("ignore")
def test_a_re_entrant_checkpoint_yields_its_parameters_gradients() -> None:
    torch.manual_seed(0)
    reference, batch = MODELS["checkpoint"]()
    torch.manual_seed(0)
    model, _ = MODELS["reentrant checkpoint"]()
    expected, found = gs.record(reference, batch), gs.record(model, batch)

    assert [p.grad_rms for p in found.parameters] == [p.grad_rms for p in expected.parameters]
    assert all(p.grad_rms for p in found.parameters)
    assert any("re-entrant checkpoint" in line for line in found.skipped)
    assert not expected.skipped


def test_reused_and_tied_layers() -> None:
    torch.manual_seed(0)
    looped = layers_of(Looped(), vectors())
    assert looped["inner#2"].inputs == (1,)
    assert looped["inner"].weight_rms == looped["inner#3"].weight_rms
    assert looped["inner"].grad_rms != looped["inner#3"].grad_rms
    tied = gs.record(Tied(), vectors())
    assert [layer.parameters[0] for layer in tied.layers if layer.parameters] == [
        "embedding.weight",
        "embedding.weight",
    ]


def test_autocast_is_measured_as_it_ran() -> None:
    torch.manual_seed(0)
    model, (inputs, targets) = Autocast(), vectors()
    layers = layers_of(model, (inputs, targets))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.body[0](inputs)
    assert layers["body.0"].rms == pytest.approx(rms(hidden), rel=1e-5)
    assert layers["body.0"].weight_rms == pytest.approx(rms(model.body[0].weight), rel=1e-5)


def test_gradients_of_a_residual_sum_and_of_a_reused_module_are_those_of_autograd() -> None:
    torch.manual_seed(0)
    model = Function(lambda m, x: m.head(x + F.relu(m.inner(m.inner(x)))), inner=nn.Linear(8, 8), head=nn.Linear(8, 3))
    inputs, targets = vectors()
    layers = layers_of(model, (inputs, targets))

    first = model.inner(inputs)
    second = model.inner(first)
    total = inputs + second.relu()
    for tensor in (first, second, total):
        tensor.retain_grad()
    F.cross_entropy(model.head(total), targets).backward()
    for name, tensor in {"inner": first, "inner#2": second, ":relu": None, ":add": total}.items():
        if tensor is not None and name in layers:
            assert layers[name].grad_rms == pytest.approx(rms(tensor.grad), rel=1e-5)
    assert layers["inner"].weight_grad_rms == pytest.approx(rms(model.inner.weight.grad), rel=1e-5)


def test_inference_mode_around_a_recording_costs_no_gradients() -> None:
    model = nn.Linear(8, 3)
    with torch.inference_mode():
        layer = gs.record(model, vectors()).layers[0]
    assert layer.grad_rms is not None


def test_unbuilt_lazy_layers_are_said() -> None:
    with pytest.raises(gs.GainstageError, match=r"lazy layers must be built, got 2 parameters.*\(weight\)"):
        gs.record(nn.LazyLinear(3), vectors())


def test_non_finite_targets_are_named_as_such() -> None:
    trace = gs.record(nn.Linear(8, 3), (vectors()[0], torch.full((12, 3), float("nan"))))
    assert trace.first_non_finite is not None
    assert (trace.first_non_finite.phase, trace.first_non_finite.op) == ("input", "targets")


def test_an_overflow_and_an_empty_norm_are_named() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8, eps=0.0), nn.Linear(8, 3))
    nn.init.zeros_(model[0].weight), nn.init.zeros_(model[0].bias)
    found = gs.record(model, vectors()).first_non_finite
    assert (found.op, found.module, found.kind) == ("layer_norm", "1", "nan")

    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3)).half()
    nn.init.constant_(model[1].weight, 6e4)
    found = gs.record(model, (vectors()[0].half(), vectors()[1])).first_non_finite
    assert (found.op, found.module, found.phase, found.dtype) == ("linear", "1", "forward", "float16")


def test_channels_last_is_measured_alike() -> None:
    torch.manual_seed(0)
    model, (inputs, targets) = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 3)), images()
    plain = layers_of(model, (inputs, targets))["0"]
    strided = layers_of(model, (inputs.contiguous(memory_format=torch.channels_last), targets))["0"]
    for name in ("rms", "std", "channel_std", "stable_rank", "similarity", "grad_rms"):
        assert getattr(strided, name) == pytest.approx(getattr(plain, name), rel=1e-4)
