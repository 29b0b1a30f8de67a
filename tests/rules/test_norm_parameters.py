"""Weight decay on vectors, and scales that start at zero."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import gainstage as gs

BATCH = (torch.randn(64, 16, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 3)


def found(model: nn.Module, code: str, optimizer: torch.optim.Optimizer | None = None) -> gs.Report:
    return gs.check(model, BATCH, optimizer=optimizer, select=code)


def severities(model: nn.Module) -> list[str]:
    return [finding.severity for finding in found(model, "NRM015").findings]


def test_decay_is_counted_on_norms_and_biases_apart() -> None:
    model = nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 3, bias=False))
    groups = [{"params": model[:2].parameters()}, {"params": model[3].parameters(), "weight_decay": 0.3}]
    report = found(model, "NRM005", torch.optim.AdamW(groups, weight_decay=0.1))

    (finding,) = report.findings
    assert finding.evidence == {"norm_parameters": 2, "biases": 1, "weight_decay": 0.3}
    assert report.trace.optimizer is not None
    assert report.trace.optimizer.decayed == ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight")


@pytest.mark.parametrize("decay", [0, 0.0])
def test_no_decay_no_finding(decay: float) -> None:
    model = nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.Linear(32, 3))

    assert found(model, "NRM005", torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=decay)).findings == ()


def test_decay_is_not_assessed_without_an_optimizer() -> None:
    assert [entry.code for entry in found(nn.Linear(16, 3), "NRM005").not_assessed] == ["NRM005"]


class Block(nn.Module):
    def __init__(self, *, projected: bool = False) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), zero(nn.BatchNorm1d(16)))
        self.skip = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16)) if projected else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.skip(x) + self.branch(x))


class Concatenated(nn.Module):
    def __init__(self, *, stem: bool) -> None:
        super().__init__()
        self.stem = nn.Linear(16, 16) if stem else nn.Identity()
        self.branch, self.head = nn.Sequential(nn.Linear(16, 8), zero(nn.BatchNorm1d(8))), nn.Linear(24, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head(torch.cat([x, self.branch(x)], 1))


class OnePlus(nn.Module):
    """An RMS norm whose scale is written 1 + w, as in Gemma."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * (1 + self.weight)


def zero(norm: nn.Module) -> nn.Module:
    nn.init.zeros_(norm.weight)  # type: ignore[arg-type]
    return norm


def frozen(model: nn.Sequential) -> nn.Module:
    model[1].weight.requires_grad_(False)
    return model


def plain(*behind: nn.Module, norm: Callable[[int], nn.Module] = nn.BatchNorm1d) -> nn.Sequential:
    return nn.Sequential(nn.Linear(16, 32), zero(norm(32)), *behind, nn.Linear(32, 3))


def zero_head(model: nn.Sequential) -> nn.Module:
    nn.init.zeros_(model[-1].weight)
    return model


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: plain(nn.ReLU()), ["warning"]),
        (lambda: plain(nn.ReLU(), norm=nn.LayerNorm), ["warning"]),
        (lambda: frozen(plain()), ["warning"]),
        (plain, ["info"]),
        (lambda: plain(nn.GELU()), ["info"]),
        (lambda: zero_head(plain(nn.GELU())), ["info"]),
        (lambda: nn.Sequential(Block(), Block(), nn.Linear(16, 3)), []),
        (lambda: nn.Sequential(Block(projected=True), nn.Linear(16, 3)), []),
        (lambda: nn.Sequential(nn.Linear(16, 16), Block(), Block(projected=True), nn.Linear(16, 3)), []),
        (lambda: Concatenated(stem=True), []),
        (lambda: Concatenated(stem=False), []),
        (lambda: nn.Sequential(nn.Linear(16, 16), OnePlus(), nn.Linear(16, 3)), []),
    ],
)
def test_zero_scales(build: Callable[[], nn.Module], expected: list[str]) -> None:
    torch.manual_seed(0)

    assert severities(build()) == expected
