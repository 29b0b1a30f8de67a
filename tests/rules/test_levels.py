"""INI003 on a read-out that is given nothing of what it is made from."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gainstage as gs


class Pooled(nn.Module):
    """A norm's output, averaged over some dimension, times a factor, and read out."""

    def __init__(self, dim: int, factor: float = 1.0) -> None:
        super().__init__()
        self.inner, self.norm, self.dim, self.factor = nn.Linear(12, 12), nn.LayerNorm(12), dim, factor
        self.out = nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.factor * self.norm(self.inner(x)).mean(self.dim))


class Normalized(nn.Module):
    """Raw inputs that are brought to a common level before the read-out."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(12, 3)
        self.inner = nn.Linear(12, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(nn.functional.normalize(self.inner(1e6 * x.mean(1)), dim=-1))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Pooled(-1), ["error"]),  # over what the norm has centred: zero but for rounding
        (Pooled(1), []),
        (Normalized(), []),
        (Pooled(1, 1e-6), ["error"]),
        (Pooled(1, 1e-3), []),
        (Pooled(1, 0.0), []),  # exactly zero on purpose, or for another rule
    ],
)
def test_what_reaches_the_read_out(model: nn.Module, expected: list[str]) -> None:
    torch.manual_seed(0)
    findings = gs.check(model, (torch.randn(32, 12, 12), torch.randint(3, (32,))), select="INI003").findings

    assert [(f.severity, f.module) for f in findings] == [(severity, "out") for severity in expected]


@pytest.mark.parametrize("activation", [nn.Tanh, nn.Sigmoid])
@pytest.mark.parametrize(("std", "expected"), [(1.0, ["INI002"]), (0.1, [])])
def test_weights_that_drive_activations_onto_their_plateaus(
    activation: type[nn.Module], std: float, expected: list[str]
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(100, 64), activation(), nn.Linear(64, 64), activation(), nn.Linear(64, 3))
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=std)
    findings = gs.check(model, (torch.randn(64, 100), torch.randint(3, (64,)))).findings

    assert [f.code for f in findings if f.severity != "info"][:1] == expected


def test_plateaus_that_loud_inputs_reach_are_theirs() -> None:
    model = nn.Sequential(nn.Linear(100, 64), nn.Tanh(), nn.Linear(64, 3))
    findings = gs.check(model, (100 * torch.randn(64, 100), torch.randint(3, (64,))), select="INI002").findings

    assert findings == ()


class Adapter(nn.Module):
    """A bottleneck that adds next to nothing at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(32, 8), nn.Linear(8, 32)
        for layer in (self.down, self.up):
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.up(nn.functional.gelu(self.down(x)))


def test_a_branch_that_starts_small_begins_behind_the_layer_that_it_adds_to() -> None:
    torch.manual_seed(0)
    trunk = [module for _ in range(2) for module in (nn.Linear(32, 32), Adapter(), nn.ReLU())]
    batch = torch.randn(64, 32), torch.randint(3, (64,))
    assert gs.check(nn.Sequential(*trunk, nn.Linear(32, 3)), batch, select="INI").ok
