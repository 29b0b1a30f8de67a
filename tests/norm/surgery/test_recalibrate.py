"""Statistics of all data in one pass, against the slow obvious twin; restored whatever happens."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gainstage import norm
from gainstage.errors import InputError, SubjectError
from zoo.fingerprint import differences, fingerprint


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4)
    ).double()


def batches(*sizes: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    drawn = (torch.randn(size, 3, 8, 8, generator=generator, dtype=torch.float64) for size in sizes)
    return [x * (1 + i) + i for i, x in enumerate(drawn)]


def collected(model: nn.Module, data: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """The twin: every value that a norm reads is kept, and the moments are taken of all of them."""
    values: dict[str, list[torch.Tensor]] = {}
    model = copy.deepcopy(model).eval()
    for path, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
            module.register_forward_pre_hook(lambda _m, i, p=path: values.setdefault(p, []).append(i[0].detach()))
    for x in data:
        model(x)
    return {path: torch.cat([part.movedim(1, 0).flatten(1) for part in parts], 1) for path, parts in values.items()}


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.booleans())
@settings(max_examples=12, deadline=None)
def test_the_moments_are_those_of_all_values(sizes: list[int], unbiased: bool) -> None:
    model, data = network(), batches(*sizes)
    result = norm.recalibrate(model, data, unbiased=unbiased)
    for path, values in collected(model, data).items():
        found: Any = result.model.get_submodule(path)
        torch.testing.assert_close(found.running_mean, values.mean(1), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.running_var, values.var(1, correction=int(unbiased)), rtol=1e-12, atol=0)
        assert int(found.num_batches_tracked) == len(sizes)


def test_an_average_of_variances_would_be_something_else() -> None:
    """Closed form: two batches of variance 1 around 0 and 10 have 1 + 25 together."""
    data = [torch.tensor([[-1.0], [1.0]]), torch.tensor([[9.0], [11.0]])]
    layer: Any = norm.recalibrate(nn.Sequential(nn.BatchNorm1d(1)), data).model[0]
    assert layer.running_mean.item() == 5
    assert layer.running_var.item() == 26


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    data = [1e6 + torch.randn(32, 4, generator=generator, dtype=torch.float64) for _ in range(50)]
    layer: Any = norm.recalibrate(nn.BatchNorm1d(4).double(), data).model
    torch.testing.assert_close(layer.running_var, torch.cat(data).var(0, correction=0), rtol=1e-9, atol=0)


def test_train_and_eval_mode_agree_on_a_single_batch() -> None:
    model, (x,) = network(), batches(5)
    model[3].p = 0.0
    fitted = norm.recalibrate(model, x).model
    torch.testing.assert_close(fitted.eval()(x), fitted.train()(x), rtol=1e-10, atol=1e-10)


def test_a_norm_that_is_used_twice_pools_both_calls() -> None:
    layer = nn.BatchNorm1d(3)
    model = nn.Sequential(layer, nn.Linear(3, 3), layer)
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(0)) + 4
    result = norm.recalibrate(model, x)
    with torch.no_grad():
        second = model[1](nn.BatchNorm1d(3)(x))
    fitted: Any = result.model[0]
    assert fitted is result.model[2]
    torch.testing.assert_close(fitted.running_mean, torch.cat([x, second]).mean(0))
    assert [(row.calls, row.values) for row in result.statistics] == [(2, 32)]


@pytest.mark.parametrize("momentum", [0.1, None])
def test_momentum_and_modes_stay(momentum: float | None) -> None:
    model = network().train()
    model[1].momentum, model[5].training = momentum, False
    result: Any = norm.recalibrate(model, batches(4)).model
    assert [result[1].momentum, result[5].training, result[3].training, result.training] == [
        momentum,
        False,
        True,
        True,
    ]


def test_statistics_that_were_nan_are_recovered() -> None:
    model = network()
    model[1].running_mean.fill_(float("nan"))
    assert norm.recalibrate(model, batches(4)).model[1].running_mean.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_reduces_in_float32(dtype: torch.dtype) -> None:
    x = (torch.randn(256, 4, generator=torch.Generator().manual_seed(0)) + 3).to(dtype)
    layer: Any = norm.recalibrate(nn.BatchNorm1d(4).to(dtype), [x[:128], x[128:]]).model
    torch.testing.assert_close(layer.running_var, x.float().var(0, correction=0).to(dtype))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("inplace", [False, True])
def test_what_is_interrupted_changes_nothing(error: type[BaseException], inplace: bool) -> None:
    model = network().train()
    before = fingerprint(model, ())

    def interrupted() -> Any:
        yield from batches(3, 3)
        raise error("as planned")

    with pytest.raises(error, match="as planned"):
        norm.recalibrate(model, interrupted(), inplace=inplace)
    assert differences(before, fingerprint(model, ())) == []


def test_only_the_statistics_change_in_place_in_the_buffers_there_were() -> None:
    model = network()
    buffer, weight = model[1].running_mean, model[0].weight
    result = norm.recalibrate(model, batches(3), inplace=True)
    assert result.model is model
    assert model[1].running_mean is buffer
    assert buffer.any()
    assert model[0].weight is weight
    assert not any(hook for module in model.modules() for hook in module._forward_hooks.values())


def test_batches_of_any_form_and_a_forward_of_ones_own() -> None:
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    layer = nn.BatchNorm1d(3)
    forms = [x, (x, torch.zeros(8)), {"input": x}, [x[:4], x[4:]], iter([x]), [(x, None)]]
    for form in forms:
        torch.testing.assert_close(norm.recalibrate(layer, form).model.running_mean, x.mean(0))
    odd = norm.recalibrate(layer, [{"a": x}], lambda model, batch: model(batch["a"] * 2))
    torch.testing.assert_close(odd.model.running_mean, 2 * x.mean(0))
    assert norm.recalibrate(layer, iter([x, x + 9, x]), max_batches=1).batches == 1


def test_what_is_left_is_said() -> None:
    model = nn.ModuleDict({"a": nn.BatchNorm1d(3, track_running_stats=False), "b": nn.BatchNorm1d(3),
                           "c": nn.InstanceNorm1d(3, track_running_stats=True), "d": nn.BatchNorm1d(3)})  # fmt: skip
    result = norm.recalibrate(model, torch.randn(4, 3), lambda m, x: m["b"](x))
    assert [(entry.module, entry.reason) for entry in result.left] == [
        ("a", "it has no running statistics"), ("c", "instance statistics are averaged, not pooled"),
        ("d", "it did not run"),
    ]  # fmt: skip
    assert "1 changed over 1 batches, 3 left" in str(result)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(SubjectError, match="at least one batch, got none"):
        norm.recalibrate(network(), [])
    with pytest.raises(SubjectError, match=r"two values a channel, got input of shape \(1, 3\) \(0\). Leave out"):
        norm.recalibrate(nn.Sequential(nn.BatchNorm1d(3)), [torch.randn(4, 3), torch.randn(1, 3)])
    with pytest.raises(InputError, match="max_batches must be at least 1, got 0"):
        norm.recalibrate(network(), batches(2), max_batches=0)
    with pytest.raises(InputError, match=r"model must be a torch.nn.Module, got str"):
        norm.recalibrate("model", [])  # type: ignore[arg-type]


def test_models_whose_forward_depends_on_the_mode_can_keep_it() -> None:
    class Detector(nn.Module):
        """Its auxiliary head runs in training alone; its dropout must not."""

        def __init__(self) -> None:
            super().__init__()
            self.drop, self.main, self.auxiliary = nn.Dropout(0.5), nn.BatchNorm1d(3), nn.BatchNorm1d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.main(self.drop(x))
            return y + self.auxiliary(x) if self.training else y

    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(0)) + 1
    model = Detector().train()
    assert [entry.module for entry in norm.recalibrate(model, x).left] == ["auxiliary"]
    result = norm.recalibrate(model, x, training=True)
    assert result.left == ()
    torch.testing.assert_close(result.model.main.running_mean, x.mean(0))
