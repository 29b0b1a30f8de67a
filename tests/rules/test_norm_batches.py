"""Local batches in process groups, and padding in sequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from torch import nn

import gainstage as gs
from gainstage.diagnosis.check import judged
from gainstage.rules import rule_of


def convolutional(norm: type[nn.Module] = nn.BatchNorm2d) -> nn.Module:
    torch.manual_seed(0)
    head = (nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return nn.Sequential(nn.Conv2d(3, 8, 3), norm(8), *head)


def images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(count, 3, 12, 12), torch.arange(count) % 3


def local_codes(model: nn.Module, count: int, world_size: int | None) -> list[str]:
    trace = replace(gs.record(model, images(count)), world_size=world_size)
    return [finding.code for finding in judged(trace, [rule_of("NRM011"), rule_of("NRM003")]).findings]


@pytest.mark.parametrize(
    ("count", "world_size", "expected"),
    [(2, None, []), (2, 1, []), (2, 2, ["NRM011"]), (4, 8, ["NRM011"]), (16, 8, []), (64, 8, [])],
)
def test_judges_the_samples_of_a_process(count: int, world_size: int | None, expected: list[str]) -> None:
    assert local_codes(convolutional(), count, world_size) == expected


@pytest.mark.parametrize(("count", "severity"), [(7, "warning"), (8, "info"), (15, "info")])
def test_few_values_are_few_with_more_samples_too(count: int, severity: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(432, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    trace = replace(gs.record(model, images(count)), world_size=4)
    found = {finding.code: finding for finding in judged(trace, [rule_of("NRM011"), rule_of("NRM003")]).findings}
    assert found["NRM011"].severity == found["NRM003"].severity == severity
    assert found["NRM003"].consequence_of == ("NRM011" if severity == "warning" else None)


@pytest.mark.parametrize(
    ("count", "expected"), [(2, ["warning"]), (7, ["warning"]), (8, ["info"]), (15, ["info"]), (16, [])]
)
def test_a_tiny_batch_is_one_whose_values_are_few(count: int, expected: list[str]) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(432, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    found = judged(gs.record(model, images(count)), [rule_of("NRM003")]).findings
    assert [finding.severity for finding in found] == expected
    assert judged(gs.record(convolutional(), images(2)), [rule_of("NRM003")]).findings == ()


def test_few_samples_of_many_positions_are_for_information() -> None:
    trace = replace(gs.record(convolutional(), images(2)), world_size=8)
    assert [finding.severity for finding in judged(trace, [rule_of("NRM011")]).findings] == ["info"]


def test_synchronized_frozen_and_other_norms_are_silent() -> None:
    assert local_codes(nn.SyncBatchNorm.convert_sync_batchnorm(convolutional()), 2, 8) == []
    assert local_codes(convolutional().eval(), 2, 8) == []
    assert local_codes(convolutional(lambda width: nn.GroupNorm(4, width)), 2, 8) == []  # type: ignore[arg-type]


@pytest.fixture
def one_process() -> Iterator[None]:
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    yield
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="torch without torch.distributed")
@pytest.mark.usefixtures("one_process")
def test_a_group_of_one_process_is_silent() -> None:
    wrapped = nn.parallel.DistributedDataParallel(convolutional())
    report = gs.check(wrapped, images(2), select="NRM011")
    assert report.trace.world_size == 1
    assert report.findings == ()


def test_outside_of_a_group_there_is_no_world() -> None:
    trace = gs.record(convolutional(), images(2))
    assert trace.world_size is None
    assert gs.Trace.from_json(trace.to_json()) == trace


LENGTH = 40


def tagger(norm: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    body = (nn.Conv1d(6, 16, 3, padding=1), norm or nn.BatchNorm1d(16), nn.ReLU())
    return nn.Sequential(*body, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 3))


def sequences(shortest: int, *, left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.linspace(shortest, LENGTH, 32).round().long()
    x = torch.randn(32, 6, LENGTH, generator=torch.Generator().manual_seed(0))
    x = x * (torch.arange(LENGTH) < lengths[:, None])[:, None]
    return (x.flip(2) if left else x), torch.arange(32) % 3


def padded(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> list[str]:
    return [finding.severity for finding in gs.check(model, batch, select="NRM014").findings]


@pytest.mark.parametrize(("shortest", "expected"), [(LENGTH, []), (36, []), (5, ["info"])])
def test_judges_how_much_is_padding(shortest: int, expected: list[str]) -> None:
    assert padded(tagger(), sequences(shortest)) == expected


def test_padding_on_the_left_is_padding() -> None:
    assert padded(tagger(), sequences(5, left=True)) == ["info"]


def test_says_how_much_of_the_steps_it_is() -> None:
    layer = next(record for record in gs.record(tagger(), sequences(5)).layers if record.norm is not None)
    x, _ = sequences(5)
    share = float((x == 0).all(1).float().mean())
    assert layer.norm is not None
    # A convolution of three taps spreads each sample by a step.
    assert layer.norm.padded_share == pytest.approx(share, abs=2 / LENGTH)


class Flattened(nn.Module):
    """Steps laid out as samples, as a norm behind a linear layer has to have them."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.norm, self.head = nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = self.map(x.transpose(1, 2))
        return self.head(self.norm(steps.flatten(0, 1)).unflatten(0, steps.shape[:2]).relu().mean(1))


class Packed(Flattened):
    """The real steps alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = self.map(x.transpose(1, 2))
        mask = (x != 0).any(1)
        real = self.norm(steps[mask]).relu()
        summed = torch.zeros(len(x), 16).index_add(0, mask.nonzero()[:, 0], real)
        return self.head(summed / mask.sum(1, keepdim=True))


def test_steps_that_are_laid_out_as_samples_are_seen() -> None:
    assert padded(Flattened(), sequences(5)) == ["info"]


def test_packed_sequences_hold_no_padding() -> None:
    assert padded(Packed(), sequences(5)) == []


def test_other_norms_and_other_inputs_are_silent() -> None:
    assert padded(tagger(nn.GroupNorm(4, 16)), sequences(5)) == []
    assert padded(tagger().eval(), sequences(5)) == []
    blank = (torch.cat([torch.randn(16, 3, 12, 6), torch.zeros(16, 3, 12, 6)], 3), torch.arange(16) % 3)
    assert padded(convolutional(), blank) == []


def test_a_signal_that_never_changes_in_time_is_not_padded() -> None:
    x = torch.randn(32, 6, 1).expand(32, 6, LENGTH).contiguous()
    assert (
        padded(nn.Sequential(nn.BatchNorm1d(6), nn.Flatten(), nn.Linear(6 * LENGTH, 3)), (x, torch.arange(32) % 3))
        == []
    )


def one_by_one(norm: type[nn.Module]) -> gs.Report:
    """Images of many levels, a batch each, which a norm that looks at one alone takes away."""
    torch.manual_seed(0)
    levels = torch.rand(40, 1, 1, 1)
    x = levels + 0.1 * torch.randn(40, 1, 8, 8)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), norm(8), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
    batches = list(zip(x.split(1), (x > levels).float().split(1), strict=True))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return gs.check(model, batches, nn.BCEWithLogitsLoss(), optimizer=optimizer, steps=200, select="NRM003")


@pytest.mark.parametrize(
    ("norm", "expected"), [(nn.BatchNorm2d, ["warning"]), (lambda width: nn.GroupNorm(2, width), [])]
)
def test_batches_of_one_sample(norm: type[nn.Module], expected: list[str]) -> None:
    assert [finding.severity for finding in one_by_one(norm).findings] == expected


def test_a_single_batch_of_one_may_be_made_for_the_check() -> None:
    assert judged(gs.record(convolutional(), images(1)), [rule_of("NRM003")]).findings == ()
