"""Running statistics that do not fit, momentum, and batch norms at several places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gainstage as gs
from gainstage.diagnosis.check import judged
from gainstage.rules import rule_of
from gainstage.trace.training_records import EvaluationRecord, TrialRecord

BATCH = (torch.randn(64, 16, generator=torch.Generator().manual_seed(0)) * 3, torch.arange(64) % 3)


def net(**options: float | None) -> nn.Module:
    return nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32, **options), nn.ReLU(), nn.Linear(32, 3))  # type: ignore[arg-type]


def codes(model: nn.Module, code: str, **options: object) -> list[tuple[str, str]]:
    found = gs.check(model, BATCH, select=code, **options).findings  # type: ignore[arg-type]
    return [(finding.code, finding.severity) for finding in found]


@pytest.mark.parametrize(
    ("momentum", "expected"),
    [
        (0.1, []),
        (0.01, []),
        (None, []),
        (0.0, ["warning"]),
        (1.0, ["warning"]),
        (1.5, ["warning"]),
        (-0.1, ["warning"]),
        (0.99, ["info"]),
    ],
)
def test_judges_the_momentum_without_a_trial(momentum: float | None, expected: list[str]) -> None:
    assert [severity for _, severity in codes(net(momentum=momentum), "NRM010")] == expected


def test_a_momentum_of_zero_that_keeps_fitting_statistics_is_on_purpose() -> None:
    model = net(momentum=None)
    model(BATCH[0])
    model[1].momentum = 0.0

    assert codes(model, "NRM010") == []


def test_statistics_are_cold_after_a_trial_with_a_small_momentum() -> None:
    def check(momentum: float) -> list[tuple[str, str]]:
        model = net(momentum=momentum)
        return codes(model, "NRM010", optimizer=torch.optim.SGD(model.parameters(), lr=0.01), steps=10)

    assert check(1e-4) == [("NRM010", "info")]
    assert check(0.1) == []


def test_frozen_norms_have_no_momentum_to_judge() -> None:
    assert codes(net(momentum=0.0).eval(), "NRM010") == []


class Shared(nn.Module):
    """One norm behind two layers, for two readers."""

    def __init__(self, norm: nn.Module, *, scale: float = 1.0) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(16, 32), nn.Linear(32, 32), nn.Linear(32, 3)
        self.norm, self.scale = norm, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.second(self.norm(self.first(x)).relu() * self.scale)).relu())


class Functional(nn.Module):
    """Two norms that are functions in one module, each with statistics of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(16, 32), nn.Linear(32, 32), nn.Linear(32, 3)
        for name in ("one", "two"):
            self.register_buffer(f"{name}_mean", torch.zeros(32))
            self.register_buffer(f"{name}_var", torch.ones(32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.batch_norm(self.first(x), self.one_mean, self.one_var, training=True).relu()
        return self.head(F.batch_norm(self.second(x), self.two_mean, self.two_var, training=True).relu())


class Loop(nn.Module):
    """One cell, three times: the layer and the norm behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU()), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = self.cell(x)
        return self.head(x)


class Pyramid(nn.Module):
    """One norm and head for two levels."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Linear(16, 32) for _ in range(2))
        self.head = nn.Sequential(nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.levels[0](x)) + self.head(10 * self.levels[1](x))


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: Shared(nn.BatchNorm1d(32)), ["NRM009"]),
        (lambda: Shared(nn.BatchNorm1d(32, affine=False)), ["NRM009"]),
        (lambda: Shared(nn.LayerNorm(32)), []),
        (lambda: Shared(nn.BatchNorm1d(32)).eval(), []),
        (Functional, []),
        (Loop, []),
        (Pyramid, []),
        (net, []),
    ],
)
def test_one_batch_norm_at_several_places(build: Callable[[], nn.Module], expected: list[str]) -> None:
    torch.manual_seed(0)

    assert [code for code, _ in codes(build(), "NRM009")] == expected


def test_shares_in_peace_where_the_statistics_are_the_same() -> None:
    torch.manual_seed(0)
    model = Shared(nn.BatchNorm1d(32))
    with torch.no_grad():
        model.first.weight.div_(model.first.weight.norm(dim=1, keepdim=True) * 3).mul_(0.77)
        model.second.weight.div_(model.second.weight.norm(dim=1, keepdim=True))
        model.second.weight.sub_(model.second.weight.mean(1, keepdim=True))
        model.first.bias.zero_()
        model.second.bias.zero_()

    assert codes(model, "NRM009") == []


WIDE = (torch.randn(128, 16, generator=torch.Generator().manual_seed(1)), torch.arange(128) % 3)


def trained(*, steps: int = 60, lr: float = 0.1, **options: float | None) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = net(**options)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(WIDE[0]), WIDE[1]).backward()
        optimizer.step()
    return model, optimizer


def gap(
    model: nn.Module, optimizer: torch.optim.Optimizer | None, *, scale: float = 1.0, samples: int = 128
) -> gs.Report:
    batch = (WIDE[0][:samples] * scale, WIDE[1][:samples])
    return gs.check(model, batch, optimizer=optimizer, select="NRM002")


@pytest.mark.parametrize(("scale", "expected"), [(1.0, []), (1.5, []), (4.0, ["warning"]), (0.1, ["warning"])])
def test_the_gap_of_a_run_under_way(scale: float, expected: list[str]) -> None:
    model, optimizer = trained()

    assert [finding.severity for finding in gap(model, optimizer, scale=scale).findings] == expected


def test_the_gap_of_a_loaded_network_is_for_information() -> None:
    model, _ = trained()
    fresh = torch.optim.SGD(model.parameters(), lr=0.1)

    assert [finding.severity for finding in gap(model, fresh, scale=5.0).findings] == ["info"]


@pytest.mark.parametrize(("steps", "options"), [(0, {}), (10, {}), (60, {"momentum": 0.01}), (60, {"momentum": None})])
def test_statistics_that_are_not_warm_are_not_judged(steps: int, options: dict[str, float | None]) -> None:
    model, optimizer = trained(steps=steps, **options)
    report = gap(model, optimizer, scale=5.0)

    assert report.findings == ()
    assert ["warm" in entry.reason for entry in report.not_assessed] == [True]


def test_few_samples_tell_nothing_of_the_gap() -> None:
    model, optimizer = trained()
    report = gap(model, optimizer, scale=5.0, samples=8)

    assert report.findings == ()
    assert ["needs 16 samples" in entry.reason for entry in report.not_assessed] == [True]


def shifted(**options: float | None) -> list[tuple[str, str]]:
    """What is said after a trial on inputs with a mean that fresh running statistics do not know."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(640, 16, generator=generator)
    labels = (inputs @ torch.randn(16, 3, generator=generator)).argmax(1)
    series = list(zip((inputs * 0.2 + 1).split(32), labels.split(32), strict=True))
    torch.manual_seed(0)
    model = net(**options)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    found = gs.check(model, series, optimizer=optimizer, steps=200, select="NRM002,NRM010").findings
    return [(finding.code, finding.severity) for finding in found]


@pytest.mark.parametrize(("momentum", "expected"), [(0.1, []), (0.05, []), (0.001, [("NRM010", "warning")])])
def test_the_modes_of_a_trial_s_copy(momentum: float, expected: list[tuple[str, str]]) -> None:
    assert shifted(momentum=momentum) == expected


def test_a_trial_that_ends_elsewhere_in_eval_mode() -> None:
    def after(in_eval: float, steps: int = 200) -> list[str]:
        ends = EvaluationRecord(4, True, 0.1, 0.1, norms_in_eval=in_eval)
        trace = gs.record(net(), BATCH)
        trace = replace(trace, trial=TrialRecord(steps, (1.1,) * steps, evaluation=ends))
        return [f.code for f in judged(trace, [rule_of("NRM002")]).findings]

    assert after(0.9) == ["NRM002"]
    assert after(float("nan")) == []
    assert after(0.25) == after(0.9, steps=100) == []
