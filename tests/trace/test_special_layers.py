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


def test_packed_projections_are_layers_of_their_own() -> None:
    torch.manual_seed(0)
    model, (inputs, targets) = MODELS["attention"]()
    with torch.no_grad():
        model.attention.in_proj_weight[8:16] *= 3  # the keys
        model.attention.in_proj_bias[16:] = 2.0  # of the values
    layers = layers_of(model, (inputs, targets))
    rows = inputs.unsqueeze(1).expand(-1, 5, -1)
    for index, letter in enumerate("qkv"):
        layer, part = layers[f"attention.in_proj_weight[{letter}]"], slice(8 * index, 8 * index + 8)
        weight, bias = model.attention.in_proj_weight[part], model.attention.in_proj_bias[part]
        assert (layer.fan_in, layer.fan_out, layer.shape, layer.computed) == (8, 8, (5, 12, 8), False)
        assert layer.weight_rms == pytest.approx(rms(weight), rel=1e-5)
        assert layer.bias_rms == pytest.approx(rms(bias), rel=1e-5)
        assert layer.rms == pytest.approx(rms(F.linear(rows, weight, bias)), rel=1e-5)
        assert layer.grad_rms is not None
        assert layer.parameters == ("attention.in_proj_weight", "attention.in_proj_bias")
    assert layers["attention.out_proj"].parameters == ("attention.out_proj.weight", "attention.out_proj.bias")


@pytest.mark.parametrize("read", [lambda x: (x, x, x), lambda x: (x, x.flip(1), None), lambda x: (x, x.flip(1), 2 * x)])
def test_packed_projections_of_any_sources(read: Any) -> None:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        q, k, v = read(x.view(-1, 2, 8))
        return m.attention(q, k, k if v is None else v)[0]

    model = Function(forward, attention=nn.MultiheadAttention(8, 2, batch_first=True))
    found = [layer for layer in gs.record(model, torch.randn(6, 16)).layers if "in_proj_weight" in layer.name]
    assert [layer.name for layer in found] == [f"attention.in_proj_weight[{letter}]" for letter in "qkv"]
    weight = model.attention.in_proj_weight
    for index, layer in enumerate(found):
        assert layer.weight_rms == pytest.approx(rms(weight[8 * index : 8 * index + 8]), rel=1e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_a_plain_layer_that_holds_q_k_and_v_has_the_fans_of_one(fused: bool) -> None:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        q, k, v = m.qkv(x.view(-1, 2, 8)).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        if fused:
            return F.scaled_dot_product_attention(q, k, v).flatten(1)
        return ((q @ k.transpose(-2, -1)).softmax(-1) @ v).flatten(1)

    layer = gs.record(Function(forward, qkv=nn.Linear(8, 24)), torch.randn(6, 16)).layers[0]
    assert (layer.name, layer.fan_in, layer.fan_out) == ("qkv", 8, 8)


ACTIVATIONS: dict[str, Any] = {
    "silu": lambda x: x * torch.sigmoid(x),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "gelu_tanh": lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * torch.pow(x, 3.0)))),
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    "mish": lambda x: x * torch.tanh(F.softplus(x)),
    "hardswish": lambda x: x * F.relu6(x + 3) / 6,
    "softsign": F.softsign,
    "relu": lambda x: x.clamp(min=0),
    "relu6": lambda x: x.clamp(0, 6),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_written_out_by_hand(name: str) -> None:
    torch.manual_seed(0)
    act = ACTIVATIONS[name]
    model = Function(lambda m, x: m.head(act(m.body(x))), body=nn.Linear(8, 8), head=nn.Linear(8, 3))
    inputs, targets = vectors()
    trace = gs.record(model, (inputs, targets))
    found = [layer for layer in trace.layers if layer.kind == "activation" and layer.op != "softplus"]
    assert [(layer.op, layer.inputs, layer.via) for layer in found] == [(name, (0,), ())]
    out = act(model.body(inputs))
    out.retain_grad()
    F.cross_entropy(model.head(out), targets).backward()
    # The sixth of hardswish is divided by behind the product, where the record stands.
    factor = 6 if name == "hardswish" else 1
    assert found[0].rms == pytest.approx(rms(out) * factor, rel=1e-5)
    assert found[0].grad_rms == pytest.approx(rms(out.grad) / factor, rel=1e-5)


def test_a_gate_is_no_activation_of_what_it_gates() -> None:
    halves = Function(
        lambda m, x: m.head((lambda a, b: a * torch.sigmoid(b))(*m.body(x).chunk(2, -1))),
        body=nn.Linear(8, 16), head=nn.Linear(8, 3),
    )  # fmt: skip
    assert [layer.op for layer in gs.record(halves, vectors()).layers] == ["linear", "sigmoid", "linear"]
    squeeze = Function(lambda m, x: m.head(x * torch.sigmoid(m.body(x))), body=nn.Linear(8, 8), head=nn.Linear(8, 3))
    assert [layer.op for layer in gs.record(squeeze, vectors()).layers] == ["linear", "sigmoid", "linear"]


def _centred(x: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    mean = x.mean(dims, keepdim=True)
    return (x - mean) / torch.sqrt((x - mean).pow(2).mean(dims, keepdim=True) + 1e-6)


@pytest.mark.parametrize(
    ("norm", "kind", "values"),
    [
        (lambda x: _centred(x, (1,)), "layer", 4),
        (lambda x: _centred(x, (0, 2, 3)), "batch", 6 * 64),
        (lambda x: _centred(x, (2, 3)), "instance", 64),
        (lambda x: (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-6), "layer", 4),
        (lambda x: (x - x.mean(1, keepdim=True)) * (x.var(1, keepdim=True) + 1e-6).rsqrt(), "layer", 4),
        (lambda x: x * (x.pow(2).mean(1, keepdim=True) + 1e-6).rsqrt(), "rms", 4),
    ],
)
def test_norms_written_out_by_hand(norm: Any, kind: str, values: int) -> None:
    torch.manual_seed(0)
    model = Function(
        lambda m, x: m.head((norm(m.body(x)) * m.scale + m.shift).flatten(1)),
        body=nn.Conv2d(3, 4, 1), head=nn.Linear(256, 3),
    )  # fmt: skip
    model.scale, model.shift = nn.Parameter(torch.full((4, 1, 1), 2.0)), nn.Parameter(torch.ones(4, 1, 1))
    inputs, targets = images()
    layers = gs.record(model, (inputs, targets)).layers
    layer = layers[1]
    assert [la.kind for la in layers] == ["conv", "norm", "linear"]
    assert layer.norm is not None
    assert (layer.norm.type, layer.norm.values_per_statistic, layer.norm.scale_rms) == (kind, values, 2.0)
    assert layer.parameters == ("scale", "shift")
    assert layer.rms == pytest.approx(rms(norm(model.body(inputs)) * 2 + 1), rel=1e-5)


def test_raw_parameters_are_seen_wherever_they_enter() -> None:
    def forward(m: Any, ids: torch.Tensor) -> torch.Tensor:
        x = torch.cat([m.token.expand(len(ids), -1, -1), m.table[ids]], 1)
        x = torch.addcmul(m.shift, m.scale, x)
        x = torch.where(m.mask, m.filler, x)
        return m.head(x.mean(1))

    model = Function(forward, head=nn.Linear(8, 3))
    for name, shape in {"token": (1, 1, 8), "table": (20, 8), "shift": (1, 1, 8), "scale": (1, 1, 8)}.items():
        setattr(model, name, nn.Parameter(torch.randn(shape)))
    model.filler = nn.Parameter(torch.randn(5, 8))
    model.register_buffer("mask", torch.rand(5, 8) > 0.5)
    trace = gs.record(model, (torch.randint(20, (6, 4)), torch.randint(3, (6,))))
    assert [(layer.name, layer.op, layer.kind) for layer in trace.layers] == [
        ("table", "embedding", "embedding"), ("token", "cat", "other"), ("shift", "addcmul", "other"),
        ("filler", "where", "other"), ("head", "linear", "linear"),
    ]  # fmt: skip
    assert trace.layers[1].inputs == (0,)
    assert trace.layers[2].parameters == ("shift", "scale")


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


def test_lazy_layers_are_built_on_a_copy() -> None:
    def model() -> nn.Module:
        return nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))

    torch.manual_seed(0)
    batch, lazy = images(), model()
    state = torch.get_rng_state()
    trace = gs.record(lazy, batch)
    assert [layer.fan_in for layer in trace.layers if layer.fan_in] == [27, 144]
    assert isinstance(lazy[0].weight, nn.UninitializedParameter)
    assert isinstance(lazy[1].running_mean, nn.UninitializedBuffer)
    assert torch.equal(torch.get_rng_state(), state)
    # The weights are those that a first call would draw, the statistics those before it.
    lazy.eval()(batch[0])
    lazy.train()
    assert gs.record(lazy, batch).layers == trace.layers


@pytest.mark.parametrize("where", ["unreached", "failing"])
def test_layers_that_stay_lazy_are_said(where: str) -> None:
    model = Function(
        lambda m, x: m.head(x) if where == "unreached" else m.other(m.head(x).reshape(-1, 5)),
        head=nn.Linear(8, 3), other=nn.LazyLinear(3),
    )  # fmt: skip
    inputs = torch.randn(7, 8)
    with pytest.raises(gs.GainstageError, match=r"lazy layers must be built by this batch, got 2 .*\(other.weight\)"):
        gs.record(model, inputs)


def test_scripted_modules_are_recorded_alike_however_often() -> None:
    torch.manual_seed(0)
    plain, batch = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)), vectors()
    scripted = torch.jit.script(plain)
    traces = [gs.record(scripted, batch) for _ in range(4)]
    assert all(trace.layers == traces[0].layers for trace in traces)
    assert [la.grad_rms for la in traces[-1].layers] == [la.grad_rms for la in gs.record(plain, batch).layers]


def test_memory_that_runs_out_is_said_with_what_helps() -> None:
    def forward(_m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return torch.empty(1 << 60) + x.sum()

    with pytest.raises(gs.GainstageError, match=r"in the memory there is, got .*smaller batch"):
        gs.record(Function(forward), vectors()[0])


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


def test_a_model_that_differentiates_on_its_way_is_recorded_without_a_backward_pass_too() -> None:
    from zoo.case import SMALL
    from zoo.torch_models import TABLE

    parts = TABLE["gradient-inside-the-forward"](SMALL)
    trace = gs.record(parts.subject(), backward=False)
    assert [layer.name for layer in trace.layers] == [layer.name for layer in gs.record(parts.subject()).layers]
    with pytest.raises(gs.GainstageError, match="the model must accept the batch"):
        gs.record(nn.Linear(4, 3), vectors(), backward=False)
