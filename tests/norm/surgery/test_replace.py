"""Norms replaced: parameters carried, extras kept, ties and hooks kept, and what is left said."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gainstage import norm
from gainstage.errors import InputError, UnknownNameError
from gainstage.norm.surgery.targets import group_count


class NormAct(nn.BatchNorm2d):
    """A batch norm with a dropout and an activation inside, written against torch.nn.functional."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.drop, self.act = nn.Dropout(0.5), nn.PReLU(channels)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.num_batches_tracked.add_(1)
        x = F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, self.training,
                         self.momentum, self.eps)  # fmt: skip
        return self.act(self.drop(x))


class Scaled(nn.BatchNorm2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) * 2


class Frozen(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.eps = 1e-5
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(channels) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return x * scale.view(1, -1, 1, 1) + (self.bias - self.running_mean * scale).view(1, -1, 1, 1)


def maps(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def shaken(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return module


TARGETS = {
    "group": lambda x, w, b: F.group_norm(x, 2, w, b),
    "layer": lambda x, w, b: F.layer_norm(x, x.shape[1:]) * w.view(1, -1, 1, 1) + b.view(1, -1, 1, 1),
    "channel_layer": lambda x, w, b: F.layer_norm(x.movedim(1, -1), x.shape[1:2], w, b).movedim(-1, 1),
    "instance": lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
    nn.GroupNorm: lambda x, w, b: F.group_norm(x, 2, w, b),
    nn.InstanceNorm2d: lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
    None: lambda x, w, b: x,
}


@pytest.mark.parametrize("by", TARGETS)
@pytest.mark.parametrize("make", [nn.BatchNorm2d, nn.SyncBatchNorm, Frozen])
def test_each_target_with_the_scale_and_shift_that_there_were(make: Any, by: Any) -> None:
    old = shaken(make(8))
    x = maps(3, 8, 4, 4)
    new = norm.replace(nn.Sequential(old), "batch", by, batch=x).model
    torch.testing.assert_close(new(x), TARGETS[by](x, old.weight, old.bias), rtol=1e-5, atol=1e-5)


def test_parameters_are_the_same_objects_in_place_and_names_stay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 8))
    model[2].bias = model[1].bias
    model[1].weight.requires_grad_(False)
    weight, names = model[1].weight, [name for name, _ in model.named_parameters()]
    result = norm.replace(model, "batch", "group", inplace=True)
    assert result.model is model
    assert model[1].weight is weight
    assert not weight.requires_grad
    assert model[2].bias is model[1].bias
    assert [name for name, _ in model.named_parameters()] == names


def test_the_copy_shares_what_the_original_shares_and_nothing_with_it() -> None:
    shared = nn.BatchNorm2d(8)
    model = nn.ModuleDict({"a": shared, "b": nn.Sequential(shared)})
    calls: list[int] = []
    shared.register_forward_hook(lambda *_: calls.append(1))
    result = norm.replace(model, "batch", "group")
    assert result.model["a"] is result.model["b"][0]
    assert isinstance(model["a"], nn.BatchNorm2d)
    assert len(result.changed) == 1
    assert result.model["a"].weight.data_ptr() != shared.weight.data_ptr()
    result.model["a"](maps(2, 8, 2, 2))
    assert calls == [1]


@pytest.mark.parametrize("training", [True, False])
def test_what_a_class_adds_is_kept(training: bool) -> None:
    old = shaken(NormAct(8)).train(training)
    old.drop.p = 0.0
    x = maps(2, 8, 3, 3)
    result = norm.replace(nn.Sequential(old), "batch", "group")
    new: Any = result.model[0]
    torch.testing.assert_close(new(x), old.act(F.group_norm(x, 2, old.weight, old.bias)))
    assert [name for name, _ in new.named_children()] == ["norm", "drop", "act"]
    assert {module.training for module in new.modules()} == {training}
    assert result.changed[0].note == "with drop, act behind"
    identity = norm.replace(nn.Sequential(old), "batch", None).model
    torch.testing.assert_close(identity(x), old.act(x))


def test_what_cannot_be_taken_apart_is_left_unless_a_function_knows_it() -> None:
    model = nn.Sequential(Scaled(8), nn.utils.parametrizations.weight_norm(nn.BatchNorm2d(8), dim=0))
    result = norm.replace(model, "batch", "group")
    assert not result.changed
    assert "does more in its forward" in result.left[0].reason
    assert "parametrized" in result.left[1].reason
    known = norm.replace(model, Scaled, lambda old: nn.GroupNorm(4, old.num_features))
    assert isinstance(known.model[0], nn.GroupNorm)
    assert isinstance(known.model[1], nn.BatchNorm2d)


def test_norms_as_functions_and_lazy_ones_are_reported() -> None:
    class Inside(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.layer_norm(F.batch_norm(x, None, None, training=True), x.shape[1:])

    model = nn.Sequential(nn.LazyBatchNorm2d(), nn.Sequential(Inside()))
    result = norm.replace(model, "batch", "group", batch=maps(2, 8, 3, 3))
    assert [(entry.module, entry.what) for entry in result.left] == [
        ("0", "LazyBatchNorm2d"), ("1.0", "batch norm as a function"),
    ]  # fmt: skip
    assert "run the model on a batch once" in result.left[0].reason
    assert "pass batch=" in str(norm.replace(nn.ReLU(), "batch", "group"))


def test_batch_norm_takes_the_place_of_others_where_its_class_is_known() -> None:
    model, x = nn.Sequential(shaken(nn.GroupNorm(2, 8)), shaken(nn.InstanceNorm2d(8))), maps(4, 8, 3, 3)
    assert "pass batch= to see it" in norm.replace(model, "group", "batch").left[0].reason
    result = norm.replace(model, ("group", "instance"), "batch", batch=x)
    first: Any = result.model[0]
    torch.testing.assert_close(first(x), F.batch_norm(x, None, None, model[0].weight, model[0].bias, training=True))
    assert result.model[1].weight is None
    assert result.changed[0].note == "recalibrate its running statistics"


def test_features_that_are_last() -> None:
    model = nn.Sequential(shaken(nn.LayerNorm(8)))
    x = maps(2, 5, 8)
    rms: Any = norm.replace(model, "layer", "rms").model
    torch.testing.assert_close(rms(x), F.rms_norm(x, (8,), model[0].weight, eps=1e-5))
    assert norm.replace(model, "layer", "rms").changed[0].note == "without its shift"
    assert "features are last" in norm.replace(model, "layer", "group", batch=x).left[0].reason
    flat = norm.replace(model, "layer", "group", batch=maps(4, 8)).model
    torch.testing.assert_close(flat(maps(4, 8)), F.group_norm(maps(4, 8), 2, model[0].weight, model[0].bias))
    layer = norm.replace(nn.Sequential(shaken(nn.RMSNorm(8))), "rms", "layer").model[0]
    assert layer.bias is None


def test_single_values_are_not_normalised() -> None:
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(8))
    for by, options in (("instance", {}), ("group", {"groups": 8})):
        left = norm.replace(pooled, "batch", by, batch=maps(4, 8, 3, 3), **options).left
        assert "each statistic would be of one value" in left[0].reason
    assert "not known" in norm.replace(nn.Sequential(nn.BatchNorm1d(8)), "batch", "instance").left[0].reason


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_type_mode_and_missing_affine_are_kept(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.BatchNorm2d(8, affine=False, eps=0.1), nn.BatchNorm2d(8)).to(dtype).eval()
    new: Any = norm.replace(model, "batch", "group").model
    assert new[0].weight is None
    assert new[0].eps == 0.1
    assert (new[1].weight.dtype, new[1].training) == (dtype, False)


@given(st.integers(1, 3000), st.none() | st.integers(1, 64), st.none() | st.integers(1, 32))
def test_group_counts_divide_and_keep_their_bounds(channels: int, groups: int | None, least: int | None) -> None:
    count = group_count(channels, groups, least)
    assert channels % count == 0
    assert count <= (groups or (32 if least is None else channels))
    wanted = least or (4 if groups is None else 1)
    assert channels // count >= min(wanted, channels)
    larger = [c for c in range(count + 1, channels + 1) if channels % c == 0 and channels // c >= wanted]
    assert all(c > (groups or (32 if least is None else channels)) for c in larger)


def test_synchronized_and_back() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), shaken(nn.BatchNorm2d(8, momentum=None)), NormAct(8))
    model(maps(4, 3, 3, 3))
    there = norm.to_sync(model)
    assert [type(there.model[1]), type(there.model[2].norm)] == [nn.SyncBatchNorm] * 2
    back = norm.from_sync(there.model)
    for key, value in model[1].state_dict().items():
        assert torch.equal(value, back.model[1].state_dict()[key])
    assert back.model[1].momentum is None
    assert type(back.model[2].norm) is nn.BatchNorm2d
    unknown = norm.from_sync(nn.Sequential(nn.SyncBatchNorm(8)))
    assert "number of dimensions" in unknown.left[0].reason
    assert type(norm.from_sync(nn.Sequential(nn.SyncBatchNorm(8)), batch=maps(3, 8)).model[0]) is nn.BatchNorm1d


def test_errors_say_what_to_do() -> None:
    with pytest.raises(UnknownNameError, match=r"what must be a known one, got 'bach'\. Did you mean 'batch'"):
        norm.replace(nn.ReLU(), "bach", "group")
    with pytest.raises(UnknownNameError, match=r"by must be a known one, got 'groop'\. Did you mean 'group'"):
        norm.replace(nn.ReLU(), "batch", "groop")
    with pytest.raises(InputError, match="by must be a name, a norm class, None or a function"):
        norm.replace(nn.ReLU(), "batch", nn.GroupNorm(1, 2))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="groups must be at least 1, got 0"):
        norm.replace(nn.Sequential(nn.BatchNorm2d(8)), "batch", "group", groups=0)
    with pytest.raises(InputError, match="by must return a module, got int"):
        norm.replace(nn.BatchNorm2d(8), "batch", lambda old: 3)  # type: ignore[arg-type,return-value]
    with pytest.raises(InputError, match="must hold the norm to replace it in place, got the BatchNorm2d itself"):
        norm.replace(nn.BatchNorm2d(8), "batch", "group", inplace=True)
    uncopyable = nn.Linear(2, 2)
    uncopyable.extra = uncopyable.weight * 2
    with pytest.raises(InputError, match="model must be copyable, got RuntimeError"):
        norm.replace(uncopyable, "batch", "group")
