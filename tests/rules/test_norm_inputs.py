"""Channels that do not vary, dropout before a batch norm, and norms over one value."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import gainstage as gs

VECTORS = (torch.randn(256, 16, generator=torch.Generator().manual_seed(0)), torch.arange(256) % 3)
IMAGES = (torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 3)


def severities(model: nn.Module, code: str, batch: object = VECTORS) -> list[str]:
    return [finding.severity for finding in gs.check(model, batch, select=code).findings]


def silenced(channels: int, scale: float = 0.0) -> nn.Module:
    """A batch norm of 32 channels, so many of which read weights of next to nothing."""
    model = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
    with torch.no_grad():
        model[0].weight[:channels] *= scale
    return model


@pytest.mark.parametrize(
    ("channels", "scale", "expected"),
    [
        (0, 0.0, []),
        (16, 0.0, []),
        (17, 0.0, ["warning"]),
        (17, 1e-5, ["warning"]),
        (32, 1e-4, []),
        (32, 0.01, []),
        (32, 0.0, []),
    ],
)
def test_counts_channels_that_do_not_vary(channels: int, scale: float, expected: list[str]) -> None:
    torch.manual_seed(0)

    assert severities(silenced(channels, scale), "NRM007") == expected


def test_constant_features_of_the_input_are_the_data_s_affair() -> None:
    inputs = VECTORS[0].clone()
    inputs[:, 4:] = 1.0
    model = nn.Sequential(nn.BatchNorm1d(16), nn.Linear(16, 3))

    assert severities(model, "NRM007", (inputs, VECTORS[1])) == []


def mlp(*between: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(16, 64), *between, nn.Linear(64, 3))


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: mlp(nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(64)), ["warning"]),
        (lambda: mlp(nn.ReLU(), nn.Dropout(0.1), nn.BatchNorm1d(64)), ["info"]),
        (lambda: mlp(nn.ReLU(), nn.Dropout(0.0), nn.BatchNorm1d(64)), []),
        (lambda: mlp(nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.5)), []),
        (lambda: mlp(nn.ReLU(), nn.Dropout(0.5), nn.LayerNorm(64)), []),
        (lambda: mlp(nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(64)).eval(), []),
        (lambda: mlp(nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()), []),
    ],
)
def test_dropout_before_a_batch_norm(build: Callable[[], nn.Module], expected: list[str]) -> None:
    torch.manual_seed(0)

    assert severities(build(), "NRM008") == expected


def test_the_shift_of_the_variance_is_that_of_the_rate() -> None:
    # Of a signal without mean, keeping half and doubling it makes twice the variance; a bias adds its square.
    torch.manual_seed(0)
    model = mlp(nn.Dropout(0.75), nn.BatchNorm1d(64))
    nn.init.zeros_(model[0].bias)  # type: ignore[index, arg-type]
    (finding,) = gs.check(model, VECTORS, select="NRM008").findings

    assert finding.value == pytest.approx(4, rel=0.1)


def pooled(norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), norm, nn.Flatten(), nn.Linear(8, 3))


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: pooled(nn.GroupNorm(8, 8)), ["error"]),
        (lambda: pooled(nn.GroupNorm(4, 8)), []),
        (lambda: pooled(nn.LayerNorm([1, 1])), ["error"]),
        (lambda: pooled(nn.LayerNorm([8, 1, 1])), []),
        (lambda: pooled(nn.BatchNorm2d(8)), []),
    ],
)
def test_norms_over_a_single_value(build: Callable[[], nn.Module], expected: list[str]) -> None:
    torch.manual_seed(0)

    assert severities(build(), "NRM013", IMAGES) == expected
