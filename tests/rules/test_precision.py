"""NUM002 and NUM003: only where float16 is in use."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gainstage as gs

INPUTS, LABELS = torch.randn(64, 16), torch.randint(3, (64,))


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))


class Autocast(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner, self.dtype = mlp(), dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=self.dtype):
            return self.inner(x)


def scaled(factor: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return lambda outputs, targets: F.cross_entropy(outputs.float(), targets) * factor


def spoken(model: nn.Module, inputs: torch.Tensor, factor: float = 1.0) -> list[str]:
    found = gs.check(model, (inputs, LABELS), scaled(factor), select="NUM002,NUM003").findings
    return [f"{finding.code} {finding.severity}" for finding in found]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_silent_at_usual_levels(dtype: torch.dtype) -> None:
    assert spoken(Autocast(dtype), INPUTS) == []
    assert spoken(mlp().to(dtype), INPUTS.to(dtype)) == []


@pytest.mark.parametrize("factor", [1e-5, 1e-6, 1e-9])
def test_gradients_that_underflow(factor: float) -> None:
    assert spoken(mlp().half(), INPUTS.half(), factor) == ["NUM003 warning"]
    assert spoken(mlp().bfloat16(), INPUTS.bfloat16(), factor) == []
    assert spoken(mlp(), INPUTS, factor) == []


def test_a_loss_scaler_may_stand_outside_of_autocast() -> None:
    assert spoken(Autocast(torch.float16), INPUTS, 1e-5) == ["NUM003 info"]
    assert spoken(Autocast(torch.float16), INPUTS, 1e-5 * 2**16) == []


def test_activations_near_the_limit() -> None:
    assert spoken(Autocast(torch.float16), INPUTS * 10000) == ["NUM002 warning"]
    assert spoken(Autocast(torch.bfloat16), INPUTS * 10000) == []
    assert spoken(mlp(), INPUTS * 10000) == []


def test_zeros_behind_a_read_out_of_zeros_are_no_underflow() -> None:
    model = mlp().half()
    nn.init.zeros_(model[-1].weight)
    assert spoken(model, INPUTS.half()) == []


def test_not_assessed_in_float32() -> None:
    entries = gs.check(mlp(), (INPUTS, LABELS), select="NUM002,NUM003").not_assessed
    assert {(entry.code, entry.reason.partition(":")[0]) for entry in entries} == {
        ("NUM002", "no float16 in this run"), ("NUM003", "no float16 in this run"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "rate", "expected"),
    [
        (torch.bfloat16, 1e-5, True), (torch.bfloat16, 1e-2, False),
        (torch.float16, 1e-6, True), (torch.float16, 1e-3, False), (torch.float32, 1e-5, False),
    ],
)  # fmt: skip
def test_steps_that_are_rounded_away(dtype: torch.dtype, rate: float, expected: bool) -> None:
    model = mlp().to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0) if dtype is torch.float32 else None
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=rate, eps=1e-4)
    report = gs.check(model, (INPUTS.to(dtype), LABELS), scaled(1.0), optimizer=optimizer, select="NUM004")
    assert bool(report.findings) is expected
    assert bool(report.not_assessed) is (dtype is torch.float32)


def test_the_share_is_that_of_values_that_stay_bit_for_bit() -> None:
    model = mlp().bfloat16()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    subject = gs.Subject(model, (INPUTS.bfloat16(), LABELS), scaled(1.0), optimizer)
    step = gs.check(subject).trace.step
    before = [parameter.detach().clone() for parameter in model.parameters()]
    scaled(1.0)(model(INPUTS.bfloat16()), LABELS).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    optimizer.step()
    sloping = sum(int((gradient != 0).sum()) for gradient in gradients if gradient is not None)
    lost = sum(
        int(((gradient != 0) & (old == new)).sum())
        for old, new, gradient in zip(before, model.parameters(), gradients, strict=True)
        if gradient is not None
    )
    assert step is not None
    assert 0 < lost < sloping
    assert step.rounded_away == pytest.approx(lost / sloping, abs=0.01)
