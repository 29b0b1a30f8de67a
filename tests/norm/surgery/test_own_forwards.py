"""Layers and norms whose classes have a forward of their own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gainstage import norm
from gainstage.errors import SubjectError
from gainstage.norm import layers


class Standardized(nn.Conv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        std, mean = torch.std_mean(self.weight, (1, 2, 3), keepdim=True)
        return F.conv2d(input, (self.weight - mean) / std, self.bias)


class Padding(nn.Conv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.pad(input, (1, 1, 1, 1)), self.weight, self.bias)


def used(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                nn.init.uniform_(tensor, 0.5, 2.0)
    return model.eval()


@pytest.mark.parametrize(
    "model",
    [nn.Sequential(Standardized(3, 8, 3), nn.BatchNorm2d(8)), nn.Sequential(nn.BatchNorm2d(3), Padding(3, 8, 3))],
)
def test_a_layer_that_would_not_take_the_norm_in_is_left(model: nn.Module) -> None:
    result = norm.fold(used(model), torch.randn(2, 3, 8, 8))
    assert not result.changed
    assert result.deviation == 0
    assert "does more in its forward" in result.left[0].reason


def test_what_pads_itself_takes_in_the_norm_behind_it() -> None:
    model, x = used(nn.Sequential(Padding(3, 8, 3), nn.BatchNorm2d(8))), torch.randn(2, 3, 8, 8)
    result = norm.fold(model, x)
    assert len(result.changed) == 1
    torch.testing.assert_close(result.model(x), model(x), rtol=1e-4, atol=1e-4)


def test_a_frozen_batch_norm_is_folded_and_keeps_its_statistics() -> None:
    model, x = used(nn.Sequential(nn.Conv2d(3, 8, 3), layers.FrozenBatchNorm(8))), torch.randn(2, 3, 8, 8)
    folded = norm.fold(model, x)
    assert len(folded.changed) == 1
    torch.testing.assert_close(folded.model(x), model(x), rtol=1e-4, atol=1e-4)
    fitted = norm.recalibrate(model, x)
    assert [left.reason for left in fitted.left] == ["its class is frozen"]
    assert torch.equal(fitted.model[1].running_mean, model[1].running_mean)
    assert not norm.freeze(model).changed


def test_an_audit_of_one_sample_is_an_error_in_one_line() -> None:
    with pytest.raises(SubjectError, match="audit: the batch must do for batch norms in training") as caught:
        norm.audit(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)), torch.randn(1, 8))
    assert "\n" not in str(caught.value)
