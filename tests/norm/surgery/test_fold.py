"""Folded networks compute the same in eval mode; what cannot be folded is left, with the reason."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, prune

from gainstage import norm
from gainstage.errors import InputError


def used(model: nn.Module) -> nn.Module:
    """The model in float64, with norms that are not those of a new one."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                if tensor is not None:
                    tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model.double()


def inputs(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def same(model: nn.Module, result: norm.Folded, x: torch.Tensor) -> None:
    torch.testing.assert_close(result.model(x), model.eval()(x), rtol=1e-10, atol=1e-10)


NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
CONVS = {(1, False): nn.Conv1d, (2, False): nn.Conv2d, (3, False): nn.Conv3d,
         (1, True): nn.ConvTranspose1d, (2, True): nn.ConvTranspose2d, (3, True): nn.ConvTranspose3d}  # fmt: skip


@given(
    dims=st.integers(1, 3), transposed=st.booleans(), groups=st.sampled_from([1, 2, 4]), bias=st.booleans(),
    padding=st.integers(0, 1), stride=st.integers(1, 2), affine=st.booleans(), behind=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_convolution_with_its_norm_before_or_behind(
    dims: int, transposed: bool, groups: int, bias: bool, padding: int, stride: int, affine: bool, behind: bool
) -> None:
    torch.manual_seed(0)
    conv = CONVS[dims, transposed](4, 8, 3, groups=groups, bias=bias, padding=padding, stride=stride)
    layer = NORMS[dims](8 if behind else 4, affine=affine)
    model = used(nn.Sequential(conv, layer) if behind else nn.Sequential(layer, conv))
    x = inputs(2, 4, *[5] * dims)
    result = norm.fold(model, x)
    same(model, result, x)
    exact = behind or (not transposed and not padding)
    assert len(result.changed) == int(exact)
    if not exact:
        assert ("different taps" if transposed else "zero padding does not see the shift") in result.left[0].reason
    assert any(isinstance(m, NORMS[dims]) for m in result.model.modules()) is not exact


@pytest.mark.parametrize("bias", [False, True])
def test_linear_layers_before_behind_and_through_views(bias: bool) -> None:
    class Flattened(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(6, 4, bias=bias), nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(x)
            return self.norm(y.flatten(0, 1)).reshape_as(y)

    for model, shape in (
        (nn.Sequential(nn.Linear(6, 4, bias=bias), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)), (5, 6)),
        (nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 4, bias=bias)), (5, 6)),
        (Flattened(), (3, 5, 6)),
        (nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 4 * 4, 7, bias=bias)), (2, 3, 4, 4)),
    ):
        result = norm.fold(used(model), inputs(*shape))
        same(model, result, inputs(*shape))
        assert len(result.changed) == 1, str(result)


def test_the_order_is_that_of_execution_not_of_registration() -> None:
    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.second, self.first, self.two = (
                nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1),
            )  # fmt: skip

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.one(self.first(self.two(x).clone()).relu()))

    model, x = used(Crossed()), inputs(2, 3, 4, 4)
    result = norm.fold(model, x)
    same(model, result, x)
    assert {change.module for change in result.changed} == {"first", "second"}


class Wired(nn.Module):
    """A convolution, a norm, and a forward that may do something with what lies between."""

    def __init__(self, between: Any, conv: nn.Module | None = None) -> None:
        super().__init__()
        self.conv, self.norm = conv or nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.between, self.kept = between, None

    def forward(self, x: torch.Tensor) -> Any:
        return self.between(self, x)


def keeping(model: Any, x: torch.Tensor) -> torch.Tensor:
    model.kept = model.conv(x)
    return model.norm(model.kept).relu()


def halves(model: Any, x: torch.Tensor) -> torch.Tensor:
    y = model.conv(x)
    return model.norm(y).relu() + y[:, :1]


def written(model: Any, x: torch.Tensor) -> torch.Tensor:
    return model.norm(model.conv(x).mul_(2)).relu()


def turned(model: Any, x: torch.Tensor) -> torch.Tensor:
    return model.norm(model.conv(x).transpose(1, 2)).relu()


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (lambda m, x: (m.norm(m.conv(x)).relu(), m.conv(x)), "conv also runs without it"),
        (lambda m, x: (lambda y: (m.norm(y).relu(), y))(m.conv(x)), "model returns or keeps"),
        (keeping, "model returns or keeps"),
        (halves, r"add in \(root\) also reads conv"),
        (written, r"it reads mul in \(root\), which is no layer"),
        (turned, "its channels are not those of conv"),
        (lambda m, x: m.norm(m.conv(x) + m.conv(-x)).relu(), r"it reads add in \(root\)"),
        (lambda m, x: m.norm(x).relu() + m.conv(x), "it reads the model's input"),
        (lambda m, x: m.conv(x), "it did not run"),
    ],
)
def test_what_others_read_is_left(between: Any, reason: str) -> None:
    model, x = used(Wired(between)), inputs(2, 3, 3, 3)
    result = norm.fold(model, x)
    assert not result.changed
    assert result.deviation == 0
    assert result.left[0].module == "norm"
    assert re.search(reason, result.left[0].reason)


def plain(model: Any, x: torch.Tensor) -> torch.Tensor:
    return model.norm(model.conv(x)).relu()


def test_computed_shared_and_hooked_weights_are_left() -> None:
    computed = [parametrizations.weight_norm(nn.Conv2d(3, 3, 1)), parametrizations.spectral_norm(nn.Conv2d(3, 3, 1)),
                prune.l1_unstructured(nn.Conv2d(3, 3, 1), "weight", 0.5)]  # fmt: skip
    for conv in computed:
        assert "its weight is computed" in norm.fold(used(Wired(plain, conv)), inputs(2, 3, 3, 3)).left[0].reason
    tied = Wired(plain)
    tied.other = nn.Conv2d(3, 3, 1)
    tied.other.weight = tied.conv.weight
    assert "shared (conv.weight, other.weight)" in norm.fold(used(tied), inputs(2, 3, 3, 3)).left[0].reason
    for name in ("conv", "norm"):
        hooked = Wired(plain)
        getattr(hooked, name).register_forward_hook(lambda *_: None)
        assert "a hook sees or changes" in norm.fold(used(hooked), inputs(2, 3, 3, 3)).left[0].reason


def test_a_pair_that_is_used_twice_is_folded_and_norms_of_norms_too() -> None:
    pair = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    model, x = used(nn.Sequential(pair, nn.ReLU(), pair)), inputs(2, 3, 3, 3)
    result = norm.fold(model, x)
    same(model, result, x)
    assert [change.module for change in result.changed] == ["0.1", "0.2"]
    assert not result.left


def test_a_norm_read_by_several_layers_goes_into_each() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.one, self.two = nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3), nn.Conv2d(3, 5, 3, bias=False)

        def forward(self, x: torch.Tensor) -> Any:
            y = self.norm(x)
            return self.one(y).sum() + self.two(y).sum()

    model, x = used(Fork()), inputs(2, 3, 5, 5)
    result = norm.fold(model, x)
    same(model, result, x)
    assert result.changed


def test_without_running_statistics_nothing_can_be_folded() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))
    assert "no running statistics" in norm.fold(model, torch.randn(2, 3, 3, 3)).left[0].reason


def test_norms_as_functions_are_named() -> None:
    class Inside(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.batch_norm(x, torch.zeros(3), torch.ones(3))

    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(Inside()), nn.Conv2d(3, 3, 1), nn.InstanceNorm2d(3))
    result = norm.fold(model, torch.randn(2, 3, 3, 3))
    assert [(entry.module, entry.what) for entry in result.left] == [("1.0", "batch norm as a function")]
    assert [entry.what for entry in norm.audit(model, torch.randn(2, 3, 3, 3)).left] == ["batch norm as a function"]


def test_the_original_is_untouched_unless_asked() -> None:
    model, x = used(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))).train(), inputs(2, 3, 3, 3)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    assert norm.fold(model, x).model is not model
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert model.training
    assert norm.fold(model, x, inplace=True).model is model
    assert isinstance(model[1], nn.Identity)


def test_a_batch_is_made_where_the_signature_says_of_what() -> None:
    assert norm.fold(nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))).changed
    with pytest.raises(InputError, match="a batch must be given for a model whose input cannot be guessed"):
        norm.fold(Wired(lambda m, x, y: x))


def test_a_fold_that_changes_the_outputs_is_refused() -> None:
    class Liar(nn.Conv2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            y = super().forward(input)
            return y.relu() if input.shape[-1] > 5 else y  # small probes do not show it

    with pytest.raises(InputError, match=r"outputs must stay the same to 0\.001 of their scale"):
        norm.fold(used(Wired(plain, Liar(3, 3, 1))), inputs(2, 3, 8, 8))


class FrozenAffine(nn.Module):
    """A batch norm of another package: buffers alone, and a forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.eps = 1e-3
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(3, generator=torch.Generator().manual_seed(len(name))) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return x * scale.view(1, -1, 1, 1) + (self.bias - self.running_mean * scale).view(1, -1, 1, 1)


class Activated(nn.BatchNorm2d):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.SiLU()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.act(super().forward(input))


def test_frozen_norms_and_classes_with_an_activation() -> None:
    model, x = (
        used(nn.Sequential(nn.Conv2d(3, 3, 1), FrozenAffine(), nn.Conv2d(3, 4, 1), Activated(4))),
        inputs(2, 3, 4, 4),
    )
    result = norm.fold(model, x)
    same(model, result, x)
    assert [str(type(module).__name__) for module in result.model] == ["Conv2d", "Identity", "Conv2d", "Sequential"]
    assert isinstance(result.model[3].act, nn.SiLU)
    before = used(nn.Sequential(Activated(3), nn.Conv2d(3, 4, 1)))
    assert "behind it comes its own act" in norm.fold(before, x).left[0].reason
