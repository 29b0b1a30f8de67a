"""What theory predicts for a traced network, against what was measured; and where it must fail."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gainstage as gs
from gainstage.schemes.prediction import Prediction, predict
from gainstage.trace import ops


def predicted(model: nn.Module, batch: Any) -> list[Prediction]:
    return list(predict(gs.record(model, batch)))


def share(found: list[Prediction], which: str = "inside") -> float:
    known = [getattr(entry, which) for entry in found if getattr(entry, which) is not None]
    assert known
    return sum(known) / len(known)


def plain(depth: int, act: type[nn.Module], width: int = 128) -> nn.Module:
    return nn.Sequential(*[m for _ in range(depth) for m in (nn.Linear(width, width), act())], nn.Linear(width, 10))


class Blocks(nn.Module):
    def __init__(self, count: int, norm: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(64) if norm else nn.Identity() for _ in range(count))
        self.inner = nn.ModuleList(nn.Linear(64, 64) for _ in range(count))
        self.outer = nn.ModuleList(nn.Linear(64, 64) for _ in range(count))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for norm, inner, outer in zip(self.norms, self.inner, self.outer, strict=True):
            x = x + outer(F.gelu(inner(norm(x))))
        return x


def convolutional() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, padding=1)]
    for _ in range(6):
        layers += [nn.BatchNorm2d(32), nn.ReLU(inplace=True), nn.Conv2d(32, 32, 3, padding=1, groups=2)]
    return nn.Sequential(*layers)


NETWORKS: dict[str, Any] = {
    "relu": lambda: (plain(10, nn.ReLU), torch.randn(64, 128)),
    "tanh": lambda: (plain(10, nn.Tanh), torch.randn(64, 128)),
    "gelu": lambda: (plain(10, nn.GELU), torch.randn(64, 128)),
    "residual": lambda: (Blocks(8, norm=False), torch.randn(64, 64)),
    "residual, normed": lambda: (Blocks(8, norm=True), torch.randn(64, 64)),
    "convolutions with batch norm": lambda: (convolutional(), torch.randn(16, 3, 12, 12)),
}


@pytest.mark.parametrize("scheme", [None, "he_normal"])
@pytest.mark.parametrize("name", NETWORKS)
def test_levels_and_gradients_of_networks_at_initialization(name: str, scheme: str | None) -> None:
    levels, gradients = [], []
    for seed in range(3):
        torch.manual_seed(seed)
        model, batch = NETWORKS[name]()
        if scheme is not None:
            gs.initialize(model, batch, scheme=scheme, seed=seed)
        found = predicted(model, batch)
        levels.append(share(found))
        gradients.append(share(found, "grad_inside"))
        assert sum(bool(entry.restart) for entry in found) <= 1
    assert sum(levels) / 3 >= 0.95
    assert sum(gradients) / 3 >= 0.9


def test_the_band_is_no_excuse() -> None:
    """Weights that are not what theory takes them for are outside: each row of a layer alike, or of one sign."""
    torch.manual_seed(0)
    alike = plain(6, nn.Tanh)
    with torch.no_grad():
        for layer in alike:
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(layer.weight.abs())
    assert share(predicted(alike, torch.rand(64, 128))) < 0.7


def test_the_band_narrows_with_width() -> None:
    torch.manual_seed(0)
    narrow, wide = (predicted(plain(4, nn.ReLU, width), torch.randn(64, width))[6] for width in (32, 512))
    assert wide.high / wide.low < narrow.high / narrow.low < 4


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Sequential(nn.Linear(8, 8), nn.Softmax(1)), "softmax"),
        (nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.ReLU()), "normal"),
    ],
)
def test_what_is_beyond_theory_starts_again_from_the_measured_value(module: nn.Module, words: str) -> None:
    last = predicted(module, torch.randn(16, 8))[-1]
    assert last.rms is None
    assert last.inside is None
    assert words in last.restart


def test_a_second_use_of_a_weight_is_beyond_theory() -> None:
    shared = nn.Linear(32, 32)
    found = predicted(nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(32, 3)), torch.randn(16, 32))
    assert found[0].inside
    assert "used before" in found[2].restart
    assert "used several times" in found[1].grad_restart


@pytest.mark.parametrize(
    ("size", "taps", "stride", "padding", "dilation"),
    [(8, 3, 1, 1, 1), (7, 3, 2, 1, 1), (16, 7, 2, 3, 1), (5, 3, 1, 2, 2), (4, 5, 3, 2, 1), (3, 3, 1, 3, 1)],
)
def test_coverage_is_the_share_of_taps_on_the_input(
    size: int, taps: int, stride: int, padding: int, dilation: int
) -> None:
    x, kernel = torch.ones(1, 1, size, size + 1), torch.ones(1, 1, taps, taps)
    counted = F.conv2d(x, kernel, None, stride, padding, dilation).mean() / taps**2
    args = (x, kernel, None, [stride] * 2, [padding] * 2, [dilation] * 2)
    assert ops.coverage(args) == pytest.approx(float(counted))
