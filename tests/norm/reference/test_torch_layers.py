"""torch's own norms against the references: forward, backward and running statistics."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from norm_twins import DTYPES, Outcome, Sample, State, hold, largest, randomized, samples
from torch import Tensor, nn

from gainstage.errors import InputError
from gainstage.norm import reference

QUICK = settings(max_examples=20, deadline=None)
BATCH_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
INSTANCE_NORMS = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}


def spreads(rows: Tensor, eps: float) -> Tensor:
    """Standard deviations of rows, as a norm divides by them."""
    return (rows.var(1, correction=0) + eps).sqrt()


def by_batch(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    gamma, eps, count = state.get("weight"), module.eps, x.numel() // x.shape[1]
    running = {}
    if module.track_running_stats:
        updates = int(state["num_batches_tracked"]) + 1
        for name, value in zip(("running_mean", "running_var"), reference.batch_statistics(x), strict=True):
            running[name] = reference.running_average(state[name], value, module.momentum, updates)
        running["num_batches_tracked"] = torch.tensor(float(updates)).double()
    gradients = reference.batch_norm_backward(grad, x, gamma, eps)
    y = reference.batch_norm(x, gamma, state.get("bias"), eps)
    return outcome(y, gradients, gamma, count, spreads(x.transpose(0, 1).flatten(1), eps), running)


def by_running(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    mean, var, gamma = state["running_mean"], state["running_var"], state.get("weight")
    y = reference.batch_norm_inference(x, mean, var, gamma, state.get("bias"), module.eps)
    gradients = reference.batch_norm_inference_backward(grad, x, mean, var, gamma, module.eps)
    return outcome(y, gradients, gamma, 1, (var + module.eps).sqrt())


def by_group(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    groups, gamma = getattr(module, "num_groups", x.shape[1]), state.get("weight")
    y = reference.group_norm(x, groups, gamma, state.get("bias"), module.eps)
    gradients = reference.group_norm_backward(grad, x, groups, gamma, module.eps)
    rows = x.reshape(x.shape[0] * groups, -1)
    return outcome(y, gradients, gamma, rows.shape[1], spreads(rows, module.eps))


def by_layer(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    trailing, gamma = len(module.normalized_shape), state.get("weight")
    y = reference.layer_norm(x, trailing, gamma, state.get("bias"), module.eps)
    gradients = reference.layer_norm_backward(grad, x, trailing, gamma, module.eps)
    rows = x.flatten(-trailing).flatten(0, -2)
    return outcome(y, gradients, gamma, rows.shape[1], spreads(rows, module.eps))


def by_rms(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    trailing, gamma = len(module.normalized_shape), state.get("weight")
    rows = x.flatten(-trailing).flatten(0, -2)
    gradients = reference.rms_norm_backward(grad, x, trailing, gamma, module.eps)
    found = {"x": gradients.x} | ({"weight": gradients.gamma} if module.elementwise_affine else {})
    y = reference.rms_norm(x, trailing, gamma, module.eps)
    return Outcome(y, found, rows.shape[1], {}, (rows.square().mean(1) + module.eps).sqrt(), largest(gamma))


def outcome(
    y: Tensor,
    gradients: reference.Gradients,
    gamma: Tensor | None,
    length: int,
    divisors: Tensor,
    buffers: State | None = None,
) -> Outcome:
    found = {"x": gradients.x} | ({} if gamma is None else {"weight": gradients.gamma, "bias": gradients.beta})
    return Outcome(y, found, length, buffers or {}, divisors, largest(gamma))


@pytest.mark.parametrize("types", DTYPES)
@QUICK
@given(sample=samples(), affine=st.booleans(), track=st.booleans(), momentum=st.sampled_from([None, 0.1, 1.0]))
def test_batch_norm(types: str, sample: Sample, affine: bool, track: bool, momentum: float | None) -> None:
    assume(sample.values > 1)
    norm = BATCH_NORMS[len(sample.shape)](sample.shape[1], 1e-3, momentum, affine, track)
    norm = randomized(norm, sample.seed, DTYPES[types][1])
    for _ in range(2):  # the second update is of statistics that the first has left
        norm.zero_grad()
        hold(norm, by_batch, sample, DTYPES[types][0])
    if track:
        norm.zero_grad()
        hold(norm.eval(), by_running, sample, DTYPES[types][0])


@pytest.mark.parametrize("types", DTYPES)
@QUICK
@given(sample=samples(), groups=st.integers(1, 3), size=st.integers(1, 3), affine=st.booleans())
def test_group_norm(types: str, sample: Sample, groups: int, size: int, affine: bool) -> None:
    sample = Sample((sample.shape[0], groups * size, *sample.shape[2:]), sample.layout, sample.mean, sample.seed)
    assume(size * sample.positions > 1)
    norm = nn.GroupNorm(groups, groups * size, 1e-3, affine)
    hold(randomized(norm, sample.seed, DTYPES[types][1]), by_group, sample, DTYPES[types][0])


@pytest.mark.parametrize("types", DTYPES)
@QUICK
@given(sample=samples(least_rank=3), affine=st.booleans())
def test_instance_norm(types: str, sample: Sample, affine: bool) -> None:
    assume(sample.positions > 1)
    norm = INSTANCE_NORMS[len(sample.shape)](sample.shape[1], 1e-3, affine=affine)
    hold(randomized(norm, sample.seed, DTYPES[types][1]), by_group, sample, DTYPES[types][0])


def trailing_shape(sample: Sample, trailing: int) -> tuple[int, ...]:
    return sample.shape[-min(trailing, len(sample.shape) - 1) :]


@pytest.mark.parametrize("types", DTYPES)
@QUICK
@given(sample=samples(), trailing=st.integers(1, 2), affine=st.booleans())
def test_layer_norm(types: str, sample: Sample, trailing: int, affine: bool) -> None:
    norm = nn.LayerNorm(trailing_shape(sample, trailing), 1e-3, affine)
    hold(randomized(norm, sample.seed, DTYPES[types][1]), by_layer, sample, DTYPES[types][0])


# torch's RMS norm warns of an input and a weight of two types.
@pytest.mark.parametrize("types", [name for name in DTYPES if name != "mixed"])
@QUICK
@given(sample=samples(), trailing=st.integers(1, 2), affine=st.booleans())
def test_rms_norm(types: str, sample: Sample, trailing: int, affine: bool) -> None:
    norm = nn.RMSNorm(trailing_shape(sample, trailing), 1e-3, affine)
    hold(randomized(norm, sample.seed, DTYPES[types][1]), by_rms, sample, DTYPES[types][0])


def test_hand_computed_values() -> None:
    # Closed form: two values a, b become ±1, whatever they are, and no gradient comes back.
    x = torch.tensor([[1.0], [5.0]]).double()
    assert reference.batch_norm(x, eps=0.0).flatten().tolist() == [-1.0, 1.0]
    assert reference.batch_norm_backward(torch.tensor([[1.0], [0.0]]).double(), x, eps=0.0).x.abs().max() < 1e-15
    assert [value.tolist() for value in reference.batch_statistics(x)] == [[3.0], [8.0]]


@settings(max_examples=30, deadline=None)
@given(sample=samples())
def test_the_gradient_of_a_standardized_input_is_orthogonal_to_it_and_to_constants(sample: Sample) -> None:
    assume(sample.values > 2)
    x, grad = sample.draw(torch.float64)
    found = reference.batch_norm_backward(grad, x, eps=0.0).x
    dims = (0, *range(2, x.dim()))
    size = float(found.abs().max() * x.abs().max()) * sample.values
    assert found.sum(dims).abs().max() <= 1e-12 * size
    assert (found * x).sum(dims).abs().max() <= 1e-12 * size


@settings(max_examples=30, deadline=None)
@given(sample=samples())
def test_theorem_4_1_of_santurkar_with_the_exact_backward_pass(sample: Sample) -> None:
    # closed form: ‖∂L/∂x‖² = γ²/σ² (‖g‖² - ⟨1, g⟩²/m - ⟨g, x̂⟩²/m), channel by channel.
    assume(sample.values > 2)
    x, grad = sample.draw(torch.float64)
    gamma = torch.linspace(0.5, 2, sample.shape[1]).double()
    rows, grads = (t.transpose(0, 1).flatten(1) for t in (x, grad))
    m, var = rows.shape[1], rows.var(1, correction=0)
    standardized = (rows - rows.mean(1, keepdim=True)) / var[:, None].sqrt()
    rest = grads.square().sum(1) - grads.sum(1) ** 2 / m - (grads * standardized).sum(1) ** 2 / m
    found = reference.batch_norm_backward(grad, x, gamma, eps=0.0).x.transpose(0, 1).flatten(1).square().sum(1)
    expected = gamma**2 / var * rest
    assert torch.allclose(found, expected, rtol=1e-8, atol=1e-9 * float((gamma**2 / var).max() * m))


def test_references_refuse_other_types_and_single_values() -> None:
    with pytest.raises(InputError, match=r"batch_norm: x must be float64, got torch.float32. Pass x.double\(\)."):
        reference.batch_norm(torch.zeros(2, 3))
    with pytest.raises(InputError, match=r"group_norm: gamma must be float64"):
        reference.group_norm(torch.zeros(2, 3).double(), 1, torch.ones(3))
    with pytest.raises(InputError, match=r"batch_statistics: x must have two or more values .* shape \(1, 3\)"):
        reference.batch_statistics(torch.zeros(1, 3).double())


def test_backward_passes_work_where_there_is_no_autograd() -> None:
    x = torch.randn(4, 3, 2).double()
    calls = (
        lambda: reference.batch_norm_backward(x, x).x,
        lambda: reference.group_norm_backward(x, x, 3).x,
        lambda: reference.layer_norm_backward(x, x).x,
        lambda: reference.rms_norm_backward(x, x).x,
    )
    with torch.inference_mode():
        inside = [call() for call in calls]
    assert all(torch.equal(one, call()) for one, call in zip(inside, calls, strict=True))
