"""Every layer against its reference: forward, backward, running statistics, in training and eval mode."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from norm_twins import DTYPES, Outcome, Sample, State, Twin, hold, largest, randomized, samples
from torch import Tensor, nn

from gainstage.norm import layers, reference
from gainstage.norm.layers import LAYERS

EPS = 1e-3
Momentum = float | None


@dataclass(frozen=True)
class Pair:
    """A layer to be held, how it is built, its twins in both modes, and which samples it can take."""

    build: Callable[[int, Momentum], nn.Module]
    training: Twin
    inference: Twin | None = None
    takes: Callable[[Sample], bool] = lambda sample: sample.values > 1


def channel_rows(x: Tensor) -> Tensor:
    return x.transpose(0, 1).flatten(1)


def stds(x: Tensor, eps: float = EPS) -> Tensor:
    return (channel_rows(x).var(1, correction=0) + eps).sqrt()


def averaged(module: nn.Module, state: State, parts: list[tuple[Tensor, ...]]) -> State:
    """The running statistics after so many batches."""
    names = [name for name in state if name.startswith("running")]
    found, count = {name: state[name] for name in names}, int(state["num_batches_tracked"])
    for statistics in parts:
        count += 1
        for name, value in zip(names, statistics, strict=True):
            found[name] = reference.running_average(found[name], value, module.momentum, count)
    return {**found, "num_batches_tracked": torch.tensor(float(count)).double()}


def scaled_and_shifted(gradients: reference.Gradients) -> State:
    return {"x": gradients.x, "weight": gradients.gamma, "bias": gradients.beta}


def batch(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    gamma, beta, values = state["weight"], state["bias"], x.numel() // x.shape[1]
    found = scaled_and_shifted(reference.batch_norm_backward(grad, x, gamma, EPS))
    running = averaged(module, state, [reference.batch_statistics(x)])
    return Outcome(reference.batch_norm(x, gamma, beta, EPS), found, values, running, stds(x), largest(gamma))


def running(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    statistics, gamma = (state["running_mean"], state["running_var"]), state["weight"]
    y = reference.batch_norm_inference(x, *statistics, gamma, state["bias"], EPS)
    found = scaled_and_shifted(reference.batch_norm_inference_backward(grad, x, *statistics, gamma, EPS))
    return Outcome(y, found, 1, {}, (statistics[1] + EPS).sqrt(), largest(gamma))


def noisy(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    module.generator.manual_seed(7)
    positions = x.shape[2:] if module.unit == "position" else [1] * (x.dim() - 2)
    wide = torch.float64 if module.weight.dtype == torch.float64 else torch.float32
    unit, sample = (1, x.shape[1], *positions), (x.shape[0], x.shape[1], *positions)
    scale, shift = module.noise.draw(unit, sample, torch.Generator().manual_seed(7), dtype=wide)
    plain = batch(module, state, x, grad * scale.double())
    y = plain.y * scale.double() + shift.double()
    return Outcome(y, plain.gradients, plain.length, plain.buffers, plain.divisors, plain.gain * float(scale.max()))


def ghost(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    count, gamma = ghost_parts(x.shape[0]), state["weight"]
    parts = list(x.tensor_split(count))
    found = scaled_and_shifted(reference.ghost_batch_norm_backward(grad, x, count, gamma, EPS))
    y = reference.ghost_batch_norm(x, count, gamma, state["bias"], EPS)
    statistics = averaged(module, state, [reference.batch_statistics(part) for part in parts])
    divisors = torch.stack([stds(part) for part in parts])
    return Outcome(y, found, x.numel() // x.shape[1], statistics, divisors, largest(gamma))


def ghost_parts(batch_size: int) -> int:
    return math.ceil(batch_size / 3)


def renorm(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    limits, gamma = (float(state["r_max"]), float(state["d_max"])), state["weight"]
    r, d = reference.renorm_correction(x, state["running_mean"], state["running_var"], *limits, EPS)
    found = scaled_and_shifted(reference.batch_renorm_backward(grad, x, r, d, gamma, EPS))
    y = reference.batch_renorm(x, r, d, gamma, state["bias"], EPS)
    statistics = averaged(module, state, [reference.batch_statistics(x)])
    # σ, which the correction divides by, magnifies rounding too.
    divisors = torch.minimum(stds(x), (state["running_var"] + EPS).sqrt())
    return Outcome(y, found, x.numel() // x.shape[1], statistics, divisors, largest(gamma) * limits[0])


def lp(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    gamma, values, centred = state["weight"], x.numel() // x.shape[1], module.centred_norm
    constant = layers.normal_p_norm(module.p, values) if module.unit_normal else 1.0
    given_ = (module.p, constant, gamma)
    y = reference.lp_batch_norm(x, *given_, state["bias"], EPS, centred_norm=centred)
    found = scaled_and_shifted(reference.lp_batch_norm_backward(grad, x, *given_, EPS, centred_norm=centred))
    rows = channel_rows(x)
    means = rows.mean(1)
    norms = (rows - means[:, None] if centred else rows).abs()
    scale = (norms.amax(1) if math.isinf(module.p) else norms.pow(module.p).mean(1) ** (1 / module.p)) / constant
    return Outcome(y, found, values, averaged(module, state, [(means, scale)]), scale + EPS, largest(gamma))


def lp_running(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    # √(σ² + 0) = s + ε
    scale = state["running_scale"] + EPS
    return running_by(state, x, grad, state["running_mean"], scale)


def running_by(state: State, x: Tensor, grad: Tensor, mean: Tensor, scale: Tensor) -> Outcome:
    gamma = state["weight"]
    y = reference.batch_norm_inference(x, mean, scale**2, gamma, state["bias"], 0.0)
    found = scaled_and_shifted(reference.batch_norm_inference_backward(grad, x, mean, scale**2, gamma, 0.0))
    return Outcome(y, found, 1, {}, scale, largest(gamma))


def mean_only(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    found = reference.mean_only_batch_norm_backward(grad, x)
    statistics = averaged(module, state, [(channel_rows(x).mean(1),)])
    y = reference.mean_only_batch_norm(x, state["bias"])
    return Outcome(y, {"x": found.x, "bias": found.beta}, x.numel() // x.shape[1], statistics)


def mean_only_running(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    mean, one = state["running_mean"], torch.ones_like(state["running_mean"])
    found = reference.batch_norm_inference_backward(grad, x, mean, one, None, 0.0)
    y = reference.batch_norm_inference(x, mean, one, None, state["bias"], 0.0)
    return Outcome(y, {"x": found.x, "bias": found.beta}, 1)


def scale_only(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    gamma = state["weight"]
    found = scaled_and_shifted(reference.scale_only_batch_norm_backward(grad, x, gamma, EPS))
    statistics = averaged(module, state, [(reference.batch_statistics(x)[1],)])
    y = reference.scale_only_batch_norm(x, gamma, state["bias"], EPS)
    return Outcome(y, found, spread_with_mean(x), statistics, stds(x), largest(gamma))


def spread_with_mean(x: Tensor) -> int:
    """As many values as would reach |x|/σ where the mean is left in."""
    return x.numel() // x.shape[1] + math.ceil(float((x.abs().max() / stds(x).min()) ** 2))


def scale_only_running(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    return running_by(state, x, grad, torch.zeros_like(state["running_var"]), (state["running_var"] + EPS).sqrt())


def frozen(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    return running(module, state, x, grad)


def evonorm(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    given_ = (module.groups, state["v"], state["weight"])
    found = reference.evonorm_s0_backward(grad, x, *given_, EPS)
    gradients = {"x": found.x, "weight": found.gamma, "bias": found.beta, "v": found.own}
    divisors = (x.reshape(x.shape[0] * module.groups, -1).var(1, correction=0) + EPS).sqrt()
    # The gate's slope is up to 1 + |v x|/4, the gradient of v x²/4.
    gain = largest(state["weight"]) * (1 + largest(state["v"]) * float(x.abs().max()) / 4)
    length = x.numel() // x.shape[0] + math.ceil(float((x.abs().max() / divisors.min()) ** 2))
    return Outcome(reference.evonorm_s0(x, *given_, state["bias"], EPS), gradients, length, {}, divisors, gain)


def filter_response(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    gamma, learnt = state["weight"], state["eps_l"]
    eps = module.eps + learnt.abs()
    found = reference.filter_response_norm_backward(grad, x, gamma, eps)
    gradients = {"x": found.x, "weight": found.gamma, "bias": found.beta, "eps_l": found.own * learnt.sign()}
    squares = x.flatten(2).square().mean(2) if x.dim() > 2 else x**2
    length = x.numel() // (x.shape[0] * x.shape[1])
    divisors = (squares + eps).sqrt()
    # ∂y/∂ε is γ x̂/(2σ²).
    gain = largest(gamma) * max(1.0, float(1 / divisors.min() ** 2))
    y = reference.filter_response_norm(x, gamma, state["bias"], eps)
    return Outcome(y, gradients, length, {}, divisors, gain)


def thresholded(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    found, tau = reference.thresholded_backward(grad, x, state["tau"])
    return Outcome(reference.thresholded(x, state["tau"]), {"x": found, "tau": tau}, 1)


def layer_scale(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    weight = state["weight"].view(-1, *[1] * (x.dim() - 2))
    dims = (0, *range(2, x.dim()))
    return Outcome(x * weight, {"x": grad * weight, "weight": (grad * x).sum(dims)}, largest_square(x), gain=5.0)


def multiplied(name: str) -> Twin:
    def twin(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
        gradients = {"x": grad * state[name], name: (grad * x).sum().reshape(1)}
        return Outcome(x * state[name], gradients, largest_square(x) * x.shape[1] ** 2, gain=5.0)

    return twin


def largest_square(x: Tensor) -> int:
    return math.ceil(float(x.abs().max()) ** 2)


def shifted(module: nn.Module, state: State, x: Tensor, grad: Tensor) -> Outcome:
    return Outcome(x + state["bias"], {"x": grad, "bias": grad.sum().reshape(1)}, x.shape[1] ** 2)


def lp_of(p: float, **options: bool) -> Pair:
    return Pair(lambda c, m: layers.LpBatchNorm(c, p, EPS, m, **options), lp, lp_running)


def noisy_by(unit: layers.noisy.NoiseUnit) -> Pair:
    def build(channels: int, momentum: Momentum) -> nn.Module:
        generator = torch.Generator()
        return layers.NoisyBatchNorm(channels, eps=EPS, momentum=momentum, unit=unit, generator=generator)

    return Pair(build, noisy, running)


def anywhere(sample: Sample) -> bool:
    return True


PAIRS: dict[str, Pair] = {
    "batch_norm": Pair(lambda c, m: layers.BatchNorm(c, EPS, m), batch, running),
    "noisy_batch_norm": noisy_by("channel"),
    "noisy_batch_norm, positions": noisy_by("position"),
    "ghost_batch_norm": Pair(
        lambda c, m: layers.GhostBatchNorm(c, 3, eps=EPS, momentum=m), ghost, running,
        lambda sample: sample.shape[0] // ghost_parts(sample.shape[0]) * sample.positions > 1,
    ),
    "batch_renorm": Pair(lambda c, m: layers.BatchRenorm(c, 1.2, 0.3, momentum=m, eps=EPS), renorm, running),
    "batch_renorm, batch norm": Pair(lambda c, m: layers.BatchRenorm(c, momentum=m, eps=EPS), batch, running),
    "l1_batch_norm": lp_of(1),
    "l1_batch_norm, centred": lp_of(1, centred_norm=True),
    "l1_batch_norm, without a constant": lp_of(1, unit_normal=False),
    "l2_batch_norm": lp_of(2),
    "l_inf_batch_norm": lp_of(math.inf),
    "l_inf_batch_norm, centred": lp_of(math.inf, centred_norm=True),
    "mean_only_batch_norm": Pair(layers.MeanOnlyBatchNorm, mean_only, mean_only_running),
    "scale_only_batch_norm": Pair(lambda c, m: layers.ScaleOnlyBatchNorm(c, EPS, m), scale_only, scale_only_running),
    "frozen_batch_norm": Pair(lambda c, m: layers.FrozenBatchNorm(c, EPS), frozen, frozen, anywhere),
    "evonorm_s0": Pair(
        lambda c, m: layers.EvoNormS0(c, 1 + (c % 2 == 0), EPS), evonorm, evonorm,
        lambda sample: sample.positions * sample.shape[1] // (1 + (sample.shape[1] % 2 == 0)) > 1,
    ),
    "filter_response_norm": Pair(
        lambda c, m: layers.FilterResponseNorm(c, EPS, learnable_eps=True), filter_response, filter_response, anywhere
    ),
    "thresholded_linear_unit": Pair(
        lambda c, m: layers.ThresholdedLinearUnit(c), thresholded, thresholded, anywhere
    ),
    "layer_scale": Pair(lambda c, m: layers.LayerScale(c), layer_scale, layer_scale, anywhere),
    "skip_init": Pair(lambda c, m: layers.SkipInit(), multiplied("alpha"), multiplied("alpha"), anywhere),
    "fixup_multiplier": Pair(lambda c, m: layers.FixupMultiplier(), multiplied("scale"), multiplied("scale"), anywhere),
    "fixup_bias": Pair(lambda c, m: layers.FixupBias(), shifted, shifted, anywhere),
}  # fmt: skip


def test_every_layer_has_a_twin() -> None:
    assert {name.split(",")[0] for name in PAIRS} == set(LAYERS)


@pytest.mark.parametrize("types", DTYPES)
@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=12, deadline=None)
@given(sample=samples(), momentum=st.sampled_from([None, 0.1]))
def test_forward_backward_and_running_statistics(name: str, types: str, sample: Sample, momentum: Momentum) -> None:
    pair, (dtype, kept) = PAIRS[name], DTYPES[types]
    assume(pair.takes(sample))
    module = randomized(pair.build(sample.shape[1], momentum), sample.seed, kept)
    for _ in range(2):  # the second update is of statistics that the first has left
        module.zero_grad()
        hold(module, pair.training, sample, dtype)
    module.zero_grad()
    hold(module.eval(), pair.inference or pair.training, sample, dtype)
