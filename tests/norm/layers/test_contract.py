"""What every registered layer and reparametrization must do, whichever it is.

An entry of `LAYERS` or `PARAMETRIZATIONS` is all that it takes for these tests to run for it.
"""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from norm_twins import randomized
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from gainstage.errors import InputError
from gainstage.norm import layers
from gainstage.norm.layers import LAYERS, PARAMETRIZATIONS
from gainstage.seeding import preserved_rng

CHANNELS, SAMPLES, NETWORKS = 8, 6, 3
RANKS = (2, 3, 4, 5)
CARRIERS = {2: nn.Linear, 3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
NAMES = (*LAYERS, *PARAMETRIZATIONS)

# Those that norm by the batch in training.
NEEDS_VALUES = {name for name in LAYERS if "batch" in name} - {"frozen_batch_norm"}

every_layer = pytest.mark.parametrize("name", NAMES)
every_rank = pytest.mark.parametrize("rank", RANKS)
both_modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def built(name: str, rank: int, seed: int = 0) -> nn.Module:
    """The layer for some channels, or reparametrized as a layer of that many, with a state of its own."""
    with preserved_rng(seed):
        if name in LAYERS:
            return randomized(LAYERS[name](CHANNELS), seed, torch.float32)
        carrier = nn.Linear(CHANNELS, CHANNELS) if rank == 2 else CARRIERS[rank](CHANNELS, CHANNELS, 3, padding=1)
        return PARAMETRIZATIONS[name](carrier)


def batch(rank: int, seed: int = 0, dtype: torch.dtype = torch.float32, samples: int = SAMPLES) -> Tensor:
    shape = (samples, CHANNELS, *[3] * (rank - 2))
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def run(module: nn.Module, x: Tensor, seed: int = 0) -> Tensor:
    with preserved_rng(seed):
        return module(x)


def same_state(one: nn.Module, other: nn.Module) -> bool:
    mine, its = one.state_dict(), other.state_dict()
    return mine.keys() == its.keys() and all(torch.equal(tensor, its[name]) for name, tensor in mine.items())


def test_every_public_module_is_registered() -> None:
    public = {entry for name in layers.__all__ if inspect.isclass(entry := getattr(layers, name))}
    modules = {entry for entry in public if issubclass(entry, nn.Module)}
    registered = {type(part) for name in NAMES for part in built(name, 4).modules()}
    assert modules <= registered


@every_layer
@every_rank
def test_output_and_gradients_in_training(name: str, rank: int) -> None:
    module, x = built(name, rank), batch(rank).requires_grad_()
    y = module(x)
    assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, x.device)
    assert bool(y.isfinite().all())
    y.square().sum().backward()
    gradients = [x.grad, *(parameter.grad for parameter in module.parameters())]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)


@every_layer
@every_rank
def test_in_eval_mode_samples_do_not_meet_and_nothing_changes(name: str, rank: int) -> None:
    module, x = built(name, rank).eval(), batch(rank)
    before = copy.deepcopy(module)
    y = module(x)
    assert torch.equal(y, module(x))
    close(torch.cat([module(one) for one in x.split(1)]), y)
    assert same_state(before, module)


@every_layer
@every_rank
@both_modes
def test_vmap_is_a_loop_over_networks(name: str, rank: int, training: bool) -> None:
    modules = [built(name, rank, seed).train(training) for seed in range(NETWORKS)]
    # By hand: torch's `stack_module_state` takes each reparametrized module for a class of its own.
    parameters, buffers = (
        {path: torch.stack([dict(tensors)[path].detach() for tensors in each]) for path in dict(each[0])}
        for each in ([list(m.named_parameters()) for m in modules], [list(m.named_buffers()) for m in modules])
    )
    xs = torch.stack([batch(rank, seed) for seed in range(NETWORKS)])
    skeleton = copy.deepcopy(modules[0])

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        y = functional_call(skeleton, (parameters, buffers), (x,))
        return y.square().sum(), y

    # "same": one draw for all, as each network of the loop has from the same seed.
    stepped = vmap(grad(loss, has_aux=True), randomness="same")
    with preserved_rng(0):
        gradients, ys = stepped(parameters, buffers, xs)

    for index, module in enumerate(modules):
        y = run(module, xs[index])
        y.square().sum().backward()
        close(ys[index], y)
        for path, parameter in module.named_parameters():
            close(gradients[path][index], parameter.grad)
        for path, buffer in module.named_buffers():
            close(buffers[path][index], buffer)


def close(actual: Tensor, expected: Tensor | None) -> None:
    assert expected is not None
    size = max(1.0, float(expected.detach().abs().max()))
    assert torch.allclose(actual, expected, rtol=1e-5, atol=2e-6 * size)


@every_layer
@every_rank
def test_autocast_to_bfloat16_is_close_to_float32(name: str, rank: int) -> None:
    x = batch(rank, dtype=torch.bfloat16).float()
    plain, low = (built(name, rank).train() for _ in range(2))
    y = run(plain, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        # A product before it is what hands a layer its bfloat16 input; of the identity, so that nothing is lost.
        product = x.movedim(1, -1) @ torch.eye(CHANNELS)
        assert product.dtype == torch.bfloat16
        found = run(low, product.movedim(-1, 1))
    # At most 8 · 8 terms of a convolution rounded once each, else a few roundings.
    terms = sum(parameter.numel() for parameter in low.parameters()) / CHANNELS if name in PARAMETRIZATIONS else 4
    tolerance = torch.finfo(torch.bfloat16).eps * (4 + terms**0.5)
    assert float((found.detach().float() - y.detach()).abs().max()) <= tolerance * float(y.detach().abs().max())
    found.float().square().sum().backward()
    assert all(
        p.grad is not None and p.grad.dtype == p.dtype and bool(p.grad.isfinite().all()) for p in low.parameters()
    )


@every_layer
@both_modes
def test_state_dict_is_all_there_is(name: str, training: bool) -> None:
    module = built(name, 4).train()
    for seed in range(3):
        run(module, batch(4, seed))
    other = built(name, 4, seed=5)
    other.load_state_dict(module.state_dict(), strict=True)
    one, two = (run(m.train(training), batch(4, 9)) for m in (module, other))
    assert torch.equal(one, two)
    assert same_state(module, other)


@every_layer
def test_steps_change_parameters_and_buffers_alone(name: str) -> None:
    def numbers(module: nn.Module) -> dict[str, object]:
        parts = module.named_modules()
        return {f"{path}.{key}": value for path, part in parts for key, value in vars(part).items() if key[0] != "_"}

    module = built(name, 4)
    before = copy.deepcopy({key: value for key, value in numbers(module).items() if key != ".generator"})
    module(batch(4)).sum().backward()
    after = numbers(module)
    assert {key: after[key] for key in before} == before
    assert not any(isinstance(value, Tensor) for value in after.values())


@every_layer
def test_a_deep_copy_is_equal_and_apart(name: str) -> None:
    module = built(name, 4)
    other = copy.deepcopy(module)
    assert torch.equal(run(module, batch(4)), run(other, batch(4)))
    assert same_state(module, other)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    module(batch(4))
    assert not same_state(module, other)


@every_layer
def test_export_in_eval_mode_for_any_batch_size(name: str) -> None:
    module = built(name, 4).eval()
    sizes = ({0: torch.export.Dim("samples", min=1, max=512)},)
    exported = torch.export.export(module, (batch(4),), dynamic_shapes=sizes, strict=False).module()
    for samples in (SAMPLES, 2, 17):
        x = batch(4, seed=samples, samples=samples)
        assert torch.equal(exported(x), module(x))


@every_layer
@every_rank
@both_modes
def test_gradients_against_finite_differences(name: str, rank: int, training: bool) -> None:
    module = built(name, rank).double().train(training)
    paths, parameters = zip(*module.named_parameters(), strict=True) if list(module.parameters()) else ((), ())
    x = batch(rank, dtype=torch.float64, samples=3)[..., :2]

    def outputs(x: Tensor, *values: Tensor) -> Tensor:
        buffers = {path: buffer.clone() for path, buffer in module.named_buffers()}
        with preserved_rng(0):
            return functional_call(module, {**dict(zip(paths, values, strict=True)), **buffers}, (x,))

    if rank == 2:
        x = batch(rank, dtype=torch.float64, samples=3)
    inputs = tuple(tensor.detach().clone().requires_grad_() for tensor in (x, *parameters))
    assert torch.autograd.gradcheck(outputs, inputs, fast_mode=True)


@every_layer
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_large_values_stay_finite_in_half_precision(name: str, dtype: torch.dtype) -> None:
    # Squares of these are beyond float16's 65504, and so are sums of them.
    module = built(name, 4)
    if name in PARAMETRIZATIONS:
        for parameter in module.parameters():
            parameter.data *= 1000
        module, x = module.to(dtype), batch(4, dtype=dtype) / 1000
    else:
        module, x = module.to(dtype), batch(4).mul(300).add(1000).to(dtype)
    x.requires_grad_()
    y = module(x)
    assert y.dtype == dtype
    assert bool(y.isfinite().all())
    y.float().mean().backward()
    assert all(g is not None and bool(g.isfinite().all()) for g in (x.grad, *(p.grad for p in module.parameters())))


@every_layer
@both_modes
def test_an_empty_batch_is_empty_or_refused(name: str, training: bool) -> None:
    module = built(name, 4).train(training)
    before = copy.deepcopy(module)
    if training and name in NEEDS_VALUES:
        with pytest.raises(InputError, match=r"values for each channel .* \(0, 8, 3, 3\). Use a larger batch, or eval"):
            module(batch(4)[:0])
    else:
        assert module(batch(4)[:0]).shape == (0, CHANNELS, 3, 3)
    # Statistics of nothing are not taken in.
    assert same_state(before, module)


@pytest.mark.parametrize("name", sorted(NEEDS_VALUES))
@every_rank
def test_one_value_for_each_channel_is_refused_in_training_and_taken_in_eval_mode(name: str, rank: int) -> None:
    module, x = built(name, rank), batch(rank, samples=1)[(..., *[slice(0, 1)] * (rank - 2))]
    before = copy.deepcopy(module)
    shape = ", ".join(map(str, x.shape))
    kind = type(module).__name__
    with pytest.raises(InputError, match=rf"^{kind}: input must have two or more values .*\({shape}\). Use a larger"):
        module(x)
    assert same_state(before, module)
    assert bool(module.eval()(x).isfinite().all())


@pytest.mark.parametrize("name", LAYERS)
@every_rank
def test_other_channels_are_refused(name: str, rank: int) -> None:
    module = built(name, rank)
    if not hasattr(module, "num_features"):
        assert all(parameter.numel() == 1 for parameter in module.parameters())
        return
    kind = type(module).__name__
    with pytest.raises(InputError, match=rf"^{kind}: input must have 8 channels in dimension 1, got shape \(6, 4"):
        module(batch(rank)[:, :4])
    with pytest.raises(InputError, match=rf"^{kind}: input must have two or more dimensions, got shape \(8,\)"):
        module(torch.randn(8))


@every_layer
def test_says_what_it_is(name: str) -> None:
    module = built(name, 4)
    kind = type(module).__name__ if name in LAYERS else "ParametrizedConv2d"
    assert kind in repr(module)
    assert "\n\n" not in repr(module)
