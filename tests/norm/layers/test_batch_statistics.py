"""What each of batch normalization's relatives is for, beyond the contract: noise, virtual batches, corrections."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

import gainstage as gs
from gainstage.errors import InputError
from gainstage.norm.layers import (
    BatchNorm,
    BatchRenorm,
    FrozenBatchNorm,
    GhostBatchNorm,
    LpBatchNorm,
    MeanOnlyBatchNorm,
    NoisyBatchNorm,
    ScaleOnlyBatchNorm,
    ShiftingNoise,
    normal_p_norm,
    renorm_limits,
)
from gainstage.seeding import generator


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed, "batch"))


def test_noise_has_the_distributions_of_the_paper() -> None:
    # paper: Santurkar et al. 2018, appendix A: μ ~ U(-.5, .5), σ ~ U(1, 1.25), m ~ U(μ - .1, μ + .1), s ~ N(σ, .1).
    units, drawn = 2000, 500
    scale, shift = ShiftingNoise().draw((1, units), (drawn, units), generator(0, "noise"))
    means, stds = shift.mean(0), scale.mean(0)
    assert float(shift.min()) >= -0.6
    assert float(shift.max()) <= 0.6
    # Within a unit: a uniform of half-width .1, a normal of deviation .1.
    assert bool(((shift - means).abs() < 0.1 + 5 * 0.1 / math.sqrt(3 * drawn)).all())
    assert float((shift - means).square().mean()) == pytest.approx(0.1**2 / 3, rel=0.01)
    assert float((scale - stds).square().mean()) == pytest.approx(0.1**2, rel=0.01)
    # Between units: uniform, by mean and variance, each within five standard errors.
    for found, low, high in ((means, -0.5, 0.5), (stds, 1.0, 1.25)):
        variance = (high - low) ** 2 / 12
        assert float(found.mean()) == pytest.approx((low + high) / 2, abs=5 * math.sqrt(variance / units))
        assert float(found.var()) == pytest.approx(variance + 0.01 / drawn, rel=5 * math.sqrt(0.8 / units))


def test_noise_is_new_in_each_step_and_the_same_from_the_same_generator() -> None:
    x = normal(16, 4)
    norm, again = (NoisyBatchNorm(4, generator=generator(3, "noise")) for _ in range(2))
    first, second = norm(x), norm(x)
    assert not torch.equal(first, second)
    assert torch.equal(first, again(x))
    assert torch.equal(second, again(x))


def test_noise_is_shared_by_positions_or_not() -> None:
    x = normal(6, 3, 5)
    for unit, positions in (("channel", 1), ("position", 5)):
        norm = NoisyBatchNorm(3, unit=unit, noise=ShiftingNoise(std=1.0, std_spread=0.0))
        shift = (norm(x) - BatchNorm(3)(x)).detach()
        assert len({round(v, 4) for v in shift[0, 0].tolist()}) == positions


def test_noise_without_width_is_none() -> None:
    norm = NoisyBatchNorm(3, noise=ShiftingNoise(0.0, 1.0, 0.0, 0.0))
    x = normal(6, 3)
    assert torch.equal(norm(x), BatchNorm(3)(x))
    with pytest.raises(InputError, match=r"ShiftingNoise: mean_spread must be finite and at least 0, got -1"):
        ShiftingNoise(mean_spread=-1)
    with pytest.raises(InputError, match="ShiftingNoise: std must be positive and finite, got 0"):
        ShiftingNoise(std=0)


def test_there_is_no_noise_in_eval_mode_whether_or_not_statistics_run() -> None:
    x = normal(16, 4)
    for track in (True, False):
        norm = NoisyBatchNorm(4, track_running_stats=track).eval()
        assert torch.equal(norm(x), BatchNorm(4, track_running_stats=track).eval()(x))


def test_networks_under_vmap_have_noise_of_their_own() -> None:
    norm, x = NoisyBatchNorm(4), normal(8, 4)
    stacked = stack_module_state([NoisyBatchNorm(4) for _ in range(3)])
    ys = vmap(lambda *state: functional_call(norm, state, (x,)), randomness="different")(*stacked)
    assert not any(torch.allclose(ys[i], ys[j], atol=1e-2) for i, j in ((0, 1), (0, 2), (1, 2)))
    ys = vmap(lambda *state: functional_call(norm, state, (x,)), randomness="same")(*stacked)
    assert torch.equal(ys[0], ys[1])


@pytest.mark.parametrize("kind", [BatchNorm, NoisyBatchNorm, GhostBatchNorm, BatchRenorm, LpBatchNorm,
                                  MeanOnlyBatchNorm, ScaleOnlyBatchNorm])  # fmt: skip
def test_plain_means_of_statistics_under_vmap(kind: type[nn.Module]) -> None:
    modules, xs = [kind(3, momentum=None) for _ in range(2)], normal(4, 2, 8, 3)
    parameters, buffers = stack_module_state(modules)
    for step in xs:
        vmap(lambda p, b, x: functional_call(modules[0], (p, b), (x,)), randomness="same")(parameters, buffers, step)
    for index, module in enumerate(modules):
        for step in xs:
            module(step[index])
        for path, buffer in module.named_buffers():
            assert torch.allclose(buffers[path][index].float(), buffer.float(), atol=1e-6)
    if "running_mean" in buffers:
        assert torch.allclose(buffers["running_mean"], xs.mean((0, 2)), atol=1e-6)


@pytest.mark.parametrize(("samples", "size", "sizes"), [(80, 32, [27, 27, 26]), (33, 32, [17, 16]), (8, 32, [8]),
                                                        (64, 32, [32, 32]), (5, 2, [2, 2, 1])])  # fmt: skip
def test_virtual_batches(samples: int, size: int, sizes: list[int]) -> None:
    x = normal(samples, 3, 4)
    norm = GhostBatchNorm(3, size)
    expected = torch.cat([BatchNorm(3)(part) for part in x.split(sizes)])
    assert torch.allclose(norm(x), expected, atol=1e-6)
    assert int(norm.num_batches_tracked) == len(sizes)


def test_a_virtual_batch_of_one_value_is_refused() -> None:
    norm = GhostBatchNorm(3, 2)
    with pytest.raises(InputError, match=r"GhostBatchNorm: input must have two or more values .* got shape \(1, 3\)"):
        norm(normal(5, 3))
    assert int(norm.num_batches_tracked) == 0
    with pytest.raises(InputError, match="virtual_batch_size must be at least 1, got 0"):
        GhostBatchNorm(3, 0)


def test_renormalized_outputs_are_those_of_inference_where_nothing_is_clipped() -> None:
    norm = BatchRenorm(3, 1e6, 1e6)
    with torch.no_grad():
        norm.running_mean.copy_(torch.tensor([1.0, -2.0, 0.5]))
        norm.running_var.copy_(torch.tensor([4.0, 0.5, 1.0]))
    x = normal(16, 3) + 1
    expected = norm.eval()(x)
    assert torch.allclose(norm.train()(x), expected, atol=1e-5)


def test_renorm_limits_clip_and_are_state() -> None:
    norm = BatchRenorm(1, eps=1e-12)
    x = 10 + 10 * normal(1000, 1)
    for r_max, d_max in ((1, 0), (3, 5), (2, 100)):
        norm.reset_running_stats()
        norm.set_limits(r_max, d_max)
        y = norm(x)
        assert float(y.detach().std(correction=0)) == pytest.approx(r_max, rel=1e-3)
        assert float(y.detach().mean()) == pytest.approx(min(d_max, float(x.mean())), rel=1e-3, abs=1e-3)
    other = BatchRenorm(1)
    other.load_state_dict(norm.state_dict())
    assert (float(other.r_max), float(other.d_max)) == (2, 100)
    with pytest.raises(InputError, match=r"BatchRenorm: r_max must be at least 1, got 0\.5"):
        norm.set_limits(0.5, 1)
    with pytest.raises(InputError, match="BatchRenorm: d_max must be finite and at least 0, got -1"):
        norm.set_limits(2, -1)


def test_the_papers_schedule() -> None:
    # paper: Ioffe 2017, section 4.1: 1 and 0 for 5k steps, 3 at 40k, 5 at 25k.
    assert [renorm_limits(step) for step in (0, 5000, 25_000, 40_000, 90_000)] == [
        (1, 0), (1, 0), (1 + 2 * 20 / 35, 5), (3, 5), (3, 5),
    ]  # fmt: skip
    with pytest.raises(InputError, match="renorm_limits: step must be finite and at least 0, got -1"):
        renorm_limits(-1)


@pytest.mark.parametrize("p", [1, 1.5, 2, 4, math.inf])
@pytest.mark.parametrize("count", [16, 4000])
def test_normal_inputs_keep_variance_one(p: float, count: int) -> None:
    channels = 400_000 // count
    x = normal(count, channels)
    var = LpBatchNorm(channels, p, eps=0.0, track_running_stats=False)(x).detach().var(correction=0)
    # E of 1/s² is above 1/(E s)² by about 3 Var s/(E s)²: of order 1/count, and for the maximum of 1/ln(count).
    excess = 3 * p / count if p < math.inf else 1.5 / math.log(count)
    assert float(var) == pytest.approx(1, abs=excess + 5 * math.sqrt(2 / x.numel()))


def test_the_constants_in_closed_form() -> None:
    # closed_form: E|z| = √(2/π), E z⁴ = 3, and of the larger of two |z| 2/√π.
    assert normal_p_norm(1, 5) == pytest.approx(math.sqrt(2 / math.pi), rel=1e-14)
    assert normal_p_norm(2, 5) == pytest.approx(1, rel=1e-14)
    assert normal_p_norm(4, 5) == pytest.approx(3**0.25, rel=1e-14)
    assert normal_p_norm(math.inf, 1) == pytest.approx(math.sqrt(2 / math.pi), rel=1e-12)
    assert normal_p_norm(math.inf, 2) == pytest.approx(2 / math.sqrt(math.pi), rel=1e-12)
    with pytest.raises(InputError, match=r"normal_p_norm: p and count must be at least 1, got 0\.5 and 3"):
        normal_p_norm(0.5, 3)
    with pytest.raises(InputError, match="LpBatchNorm: p must be at least 1, got 0"):
        LpBatchNorm(3, 0)


@pytest.mark.parametrize("count", [7, 300, 100_000])
def test_the_expected_maximum_against_samples(count: int) -> None:
    draws = torch.stack([normal(count, seed=seed).abs().max() for seed in range(200)])
    error = float(draws.std()) / math.sqrt(200)
    assert normal_p_norm(math.inf, count) == pytest.approx(float(draws.mean()), abs=5 * error)


def test_the_p_norm_is_of_the_input_as_it_comes() -> None:
    x = normal(4000, 1) + 10
    raw, centred = (LpBatchNorm(1, 2, centred_norm=option)(x).detach().std() for option in (False, True))
    assert float(raw) == pytest.approx(1 / math.sqrt(101), rel=0.05)
    assert float(centred) == pytest.approx(1, rel=1e-3)


def test_l2_of_centred_inputs_is_batch_norm() -> None:
    x = normal(50, 3, 4).double() + 2
    one, other = LpBatchNorm(3, 2, 0.0, centred_norm=True).double(), BatchNorm(3, 1e-14).double()
    assert torch.allclose(one(x), other(x), atol=1e-12)


def test_centring_and_scaling_make_batch_norm_together() -> None:
    x = normal(50, 3, 4).double() * 3 + 2
    both = ScaleOnlyBatchNorm(3, 0.0).double()(MeanOnlyBatchNorm(3).double()(x))
    assert torch.allclose(both, BatchNorm(3, 1e-14).double()(x), atol=1e-12)


def test_a_constant_channel_has_a_finite_gradient() -> None:
    for norm in (LpBatchNorm(2, 1), LpBatchNorm(2, 2), LpBatchNorm(2, math.inf), ScaleOnlyBatchNorm(2), BatchNorm(2)):
        x = torch.zeros(6, 2, requires_grad=True)
        norm(x).square().sum().backward()
        assert x.grad is not None
        assert bool(x.grad.isfinite().all())


@pytest.mark.parametrize("affine", [True, False])
def test_frozen_copies_of_torchs_norms(affine: bool) -> None:
    norm = nn.BatchNorm2d(3, eps=1e-3, affine=affine, dtype=torch.float64)
    norm(normal(4, 3, 5, 5).double() + 3)
    for parameter in norm.parameters():
        parameter.requires_grad_(False)
    frozen, x = FrozenBatchNorm.of(norm), normal(2, 3, 5, 5).double()
    assert torch.equal(frozen.train()(x), norm.eval()(x))
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert frozen.state_dict().keys() == norm.state_dict().keys()
    before = {name: buffer.clone() for name, buffer in frozen.named_buffers()}
    norm.train()(x + 7)
    frozen(x + 7)
    assert all(torch.equal(buffer, before[name]) for name, buffer in frozen.named_buffers())
    with pytest.raises(InputError, match="FrozenBatchNorm: norm must have running statistics, got none"):
        FrozenBatchNorm.of(nn.BatchNorm1d(3, track_running_stats=False))


def test_state_goes_to_and_fro_between_torchs_batch_norm_and_its_relatives() -> None:
    norm, x = nn.BatchNorm1d(4), normal(16, 4)
    norm(x)
    for kind in (BatchNorm, NoisyBatchNorm, GhostBatchNorm, FrozenBatchNorm):
        other = kind(4)
        other.load_state_dict(norm.state_dict(), strict=True)
        assert torch.equal(other.eval()(x), norm.eval()(x))
    renorm = BatchRenorm(4)
    assert renorm.load_state_dict(norm.state_dict(), strict=False).missing_keys == ["r_max", "d_max"]
    assert torch.equal(renorm.eval()(x), norm.eval()(x))


def test_statistics_begin_anew() -> None:
    for norm in (BatchNorm(3), LpBatchNorm(3), MeanOnlyBatchNorm(3), ScaleOnlyBatchNorm(3)):
        fresh = {name: buffer.clone() for name, buffer in norm.named_buffers()}
        norm(normal(8, 3) + 1)
        assert not all(torch.equal(buffer, fresh[name]) for name, buffer in norm.named_buffers())
        norm.reset_running_stats()
        assert all(torch.equal(buffer, fresh[name]) for name, buffer in norm.named_buffers())


@pytest.mark.parametrize("kind", [BatchNorm, NoisyBatchNorm, BatchRenorm, FrozenBatchNorm])
def test_a_recording_sees_one_norm(kind: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(4, 6), kind(6), nn.ReLU(), nn.Linear(6, 3))
    layers = gs.record(model, (normal(8, 4), torch.arange(8) % 3)).layers
    assert [layer.kind for layer in layers if layer.name.startswith("1")] == ["norm"]
