"""DAT002, DAT003 and DAT004: what is wrong with targets and samples, and what only looks like it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gainstage as gs

INPUTS, TARGETS = torch.randn(64, 16), torch.randn(64)
LABELS = torch.randint(3, (64,))
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def spoken(code: str, model: nn.Module, batch: object, loss: Loss | None = None) -> list[str]:
    return [f"{f.severity} {f.evidence.get('kind', '')}".strip() for f in findings(code, model, batch, loss)]


def findings(code: str, model: nn.Module, batch: object, loss: Loss | None = None) -> tuple[gs.Finding, ...]:
    return gs.check(model, batch, loss, select=code).findings


def squared(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return ((targets - outputs) ** 2).mean()


def by_hand(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    odds = outputs.sigmoid()
    return -(targets * odds.log() + (1 - targets) * (1 - odds).log()).mean()


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss(), nn.HuberLoss(), squared, by_hand])
def test_predictions_and_targets_that_are_not_paired(loss: Loss) -> None:
    column, row = nn.Linear(16, 1), nn.Sequential(nn.Linear(16, 1), nn.Flatten(0))
    assert spoken("DAT002", column, (INPUTS, TARGETS), loss) == ["error broadcast"]
    assert spoken("DAT002", row, (INPUTS, TARGETS[:, None]), loss) == ["error broadcast"]
    assert spoken("DAT002", column, (INPUTS, TARGETS[:, None]), loss) == []
    assert spoken("DAT002", row, (INPUTS, TARGETS), loss) == []
    assert spoken("DAT002", column, (INPUTS[:1], TARGETS[:1]), loss) == []


class SoftMarginLoss(nn.Module):
    """Of another kind than torch's: it takes labels of 0 and 1."""

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.soft_margin_loss(outputs, 2 * targets - 1)


@pytest.mark.parametrize(("loss", "expected"), [(nn.SoftMarginLoss(), ["error unsigned"]), (SoftMarginLoss(), [])])
def test_a_loss_may_bear_the_name_of_another(loss: Loss, expected: list[str]) -> None:
    labels = torch.randint(2, (64, 1)).float()
    assert spoken("DAT002", nn.Linear(16, 1), (INPUTS, labels), loss) == expected


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss(), squared, by_hand])
def test_one_output_against_several_targets_of_its_sample(loss: Loss) -> None:
    one_hot = torch.eye(3)[torch.randint(3, (64,))]
    assert spoken("DAT002", nn.Linear(16, 1), (INPUTS, one_hot), loss) == ["error one_to_several"]
    assert spoken("DAT002", nn.Linear(16, 3), (INPUTS, one_hot), loss) == []
    # Several quantiles of one target.
    assert spoken("DAT002", nn.Linear(16, 3), (INPUTS, TARGETS[:, None]), loss) == []


def test_several_targets_of_one_output_may_be_meant() -> None:
    bounds = torch.stack([TARGETS - 1, TARGETS + 1], 1)

    def between(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        beside = outputs - targets
        return (beside[:, 0].clamp(max=0) ** 2 + beside[:, 1].clamp(min=0) ** 2).mean()

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.row = nn.Linear(16, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.row(x).mean(0, keepdim=True)

    assert spoken("DAT002", nn.Linear(16, 1), (INPUTS, bounds), between) == []
    assert spoken("DAT002", Shared(), (INPUTS, torch.randn(64, 10)), squared) == []


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_mean_that_is_compared_first_hides_nothing() -> None:
    def biased(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(outputs, targets) + 0.1 * (outputs.mean() - targets).mean() ** 2

    assert spoken("DAT002", nn.Linear(16, 1), (INPUTS, TARGETS), biased) == ["error broadcast"]


@pytest.mark.parametrize(
    "loss",
    [
        lambda o, t: F.mse_loss(o.squeeze(-1), t),
        lambda o, t: F.mse_loss(o[:, 0], t[:1].expand(64)),
        lambda o, t: (o[:, 0][:, None] - o[:, 0][None]).abs().mean() + F.mse_loss(o[:, 0], t),
        None,
    ],
)
def test_shapes_that_are_someones_making(loss: Loss | None) -> None:
    assert spoken("DAT002", nn.Linear(16, 1), (INPUTS, TARGETS), loss) == []


def test_each_with_each_where_model_and_batch_have_one_shape() -> None:
    def nearest(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs[:, None] - targets[None]).abs().min(1).values.mean()

    assert spoken("DAT002", nn.Sequential(nn.Linear(16, 1), nn.Flatten(0)), (INPUTS, TARGETS), nearest) == []


@pytest.mark.parametrize(
    ("labels", "loss", "expected"),
    [
        (LABELS, None, []),
        (LABELS + 1, None, ["error outside"]),
        (LABELS - 1, nn.CrossEntropyLoss(), ["error outside"]),
        (LABELS - 1, nn.CrossEntropyLoss(ignore_index=-1), []),
        (torch.full((64,), -100), nn.CrossEntropyLoss(), ["error ignored"]),
        (torch.full((64,), 2), None, ["warning one_class"]),
        (torch.full((64,), 2), lambda o, t: F.cross_entropy(o, torch.zeros(len(o)).long()), []),
    ],
)
def test_labels(labels: torch.Tensor, loss: Loss | None, expected: list[str]) -> None:
    assert spoken("DAT002", nn.Linear(16, 3), (INPUTS, labels), loss) == expected


def test_one_of_two_classes_may_be_rare() -> None:
    assert spoken("DAT002", nn.Linear(16, 2), (INPUTS, torch.zeros(64).long())) == ["info one_class"]
    assert spoken("DAT002", nn.Linear(16, 3), (INPUTS[:32], torch.zeros(32).long())) == []


def _batches(*labels: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(INPUTS[: len(row)], torch.tensor(row)) for row in labels]


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        # Sorted by class: whole batches of one, or a boundary within.
        (_batches([0] * 16, [0] * 16, [1] * 16, [2] * 16), ["warning sorted"]),
        (_batches([0] * 16, [0] * 4 + [1] * 12, [2] * 16), ["warning sorted"]),
        # One class in all that was read.
        (_batches([0] * 16, [0] * 16, [0] * 16, [0] * 16), ["warning one_class"]),
        (_batches([0] * 16, [0] * 16), []),
        # A class that is common, and batches too small to tell.
        (_batches([0] * 32, [0] * 30 + [1, 2], [0] * 31 + [1], [0] * 32), []),
        (_batches([0] * 4, [1, 2, 0, 1], [2, 0, 1, 1]), []),
        # Two by turns, as of a discriminator.
        (_batches([0] * 16, [1] * 16, [0] * 16, [1] * 16), []),
        (_batches([0] * 16, [1] * 16, [2] * 16, [0] * 16), ["warning sorted"]),
        # Small batches of one class each, one after the other: none is telling, all together are.
        (_batches(*[[0] * 12] * 8, *[[1] * 12] * 4), ["warning sorted"]),
        # A first batch of several classes: nothing else is read.
        (_batches([0, 1] * 8, [2] * 16, [2] * 16), []),
    ],
)
def test_data_sorted_by_class(batches: list[tuple[torch.Tensor, torch.Tensor]], expected: list[str]) -> None:
    assert spoken("DAT002", nn.Linear(16, 3), batches) == expected


def test_sorted_labels_of_probabilities() -> None:
    ones, zeros = torch.ones(32, 1), torch.zeros(32, 1)
    loss = nn.BCEWithLogitsLoss()
    mixed = torch.cat([ones[:8], zeros[:24]])
    assert spoken("DAT002", nn.Linear(16, 1), [(INPUTS[:32], ones), (INPUTS[:32], mixed)], loss) == ["warning sorted"]
    assert spoken("DAT002", nn.Linear(16, 1), [(INPUTS[:32], ones), (INPUTS[:32], zeros)], loss) == []


def test_further_batches_are_read_only_where_the_first_is_of_one_class() -> None:
    read = list[int]()

    class Loader:
        def __init__(self, label: int) -> None:
            self.label = label

        def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            for position in range(100):
                read.append(position)
                yield INPUTS[:16], torch.tensor([self.label] + [0] * 15)

    gs.check(nn.Linear(16, 3), Loader(1))
    assert set(read) == {0}
    report = gs.check(nn.Linear(16, 3), Loader(0))
    assert max(read) == 15
    assert gs.Trace.from_json(report.trace.to_json()) == report.trace


def test_a_picture_of_background_alone_is_none() -> None:
    batch = torch.randn(2, 3, 8, 8), torch.zeros(2, 8, 8).long()
    assert spoken("DAT002", nn.Conv2d(3, 4, 1), batch) == []


@pytest.mark.parametrize(("batches", "expected"), [(8, ["warning one_class"]), (4, []), (1, [])])  # of 8 pictures each
def test_masks_of_one_class_in_all_pictures(batches: int, expected: list[str]) -> None:
    masks = [(torch.randn(8, 3, 8, 8), torch.zeros(8, 8, 8).long()) for _ in range(batches)]
    assert spoken("DAT002", nn.Conv2d(3, 4, 1), masks) == expected
    if batches > 1:
        masks[-1][1][0, 0, 0] = 1
        assert spoken("DAT002", nn.Conv2d(3, 4, 1), masks) == []


def test_few_labels_among_many_that_are_ignored() -> None:
    labels = torch.full((64,), -100)
    labels[:2] = 2
    assert spoken("DAT002", nn.Linear(16, 3), (INPUTS, labels), nn.CrossEntropyLoss()) == []


def test_labels_of_a_step_that_is_written_by_hand() -> None:
    subject = gs.Subject(
        nn.Linear(16, 3), (INPUTS, torch.zeros(64).long()), forward=lambda m, b: F.cross_entropy(m(b[0]), b[1])
    )
    report = gs.check(subject, select="DAT002")
    assert report.findings == ()
    assert [entry.reason for entry in report.not_assessed if "defect" in entry.reason] == []


def test_a_loader_that_fails_later_fails_no_check() -> None:
    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        yield INPUTS[:16], torch.zeros(16).long()
        raise OSError

    assert spoken("DAT002", nn.Linear(16, 3), batches()) == []


def test_labels_outside_do_not_keep_the_rest_from_being_measured() -> None:
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    report = gs.check(model, (INPUTS, LABELS + 1), optimizer=torch.optim.SGD(model.parameters(), lr=0.1), steps=2)

    assert [f.code for f in report.findings] == ["DAT002"]
    assert len(report.trace.layers) == 3
    reasons = {entry.code: entry.reason for entry in report.not_assessed}
    assert reasons["OPT001"].endswith("labels name no class (DAT002)")
    assert gs.Trace.from_json(report.trace.to_json()) == report.trace


def test_labels_outside_of_a_loss_that_is_computed_elsewhere_raise() -> None:
    subject = gs.Subject(nn.Linear(16, 3), (INPUTS, LABELS + 1), forward=lambda m, b: F.cross_entropy(m(b[0]), b[1]))
    with pytest.raises(gs.GainstageError, match="labels must be 0 to 2, the model having 3 outputs, got 1 to 3"):
        gs.check(subject)


def test_targets_that_are_not_finite() -> None:
    targets = torch.cat([TARGETS[1:], torch.tensor([math.nan])])

    def leaving_out(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        known = ~targets.isnan()
        return F.mse_loss(outputs[known, 0], targets[known])

    assert spoken("DAT002", nn.Linear(16, 1), (INPUTS, targets[:, None]), nn.MSELoss()) == ["error non_finite"]
    assert spoken("DAT002", nn.Linear(16, 1), (INPUTS, targets), leaving_out) == []


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ((TARGETS > 0).float(), []),
        ((TARGETS > 0).float() * 0.5 + 0.7, []),  # soft labels from 0.7 to 1.2
        (TARGETS.sign(), ["error probabilities"]),
        ((TARGETS > 0).float() * 255, ["error probabilities"]),
    ],
)
def test_targets_that_are_no_probabilities(targets: torch.Tensor, expected: list[str]) -> None:
    assert spoken("DAT002", nn.Linear(16, 1), (INPUTS, targets[:, None]), nn.BCEWithLogitsLoss()) == expected


def test_not_assessed_without_targets() -> None:
    assert {n.code for n in gs.check(nn.Linear(16, 3), INPUTS, select="DAT002,DAT003").not_assessed} == {
        "DAT002", "DAT003",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scale", "shift", "expected"),
    [(1, 0, []), (30, 0, []), (12, 40, []), (1000, 0, ["warning large"]), (1, 1e4, ["warning large"]),
     (0.01, 0, []), (1e-4, 0, ["warning small"]), (0, 0, [])],
)  # fmt: skip
@pytest.mark.parametrize("loss", [None, nn.MSELoss(), squared])
def test_target_scale(scale: float, shift: float, expected: list[str], loss: Loss | None) -> None:
    targets = TARGETS[:, None] * scale + shift
    assert spoken("DAT003", nn.Linear(16, 1), (INPUTS, targets), loss) == expected


def test_a_model_that_has_the_targets_scale_or_a_loss_that_takes_it_away() -> None:
    batch = INPUTS, TARGETS[:, None] * 1000
    scaled = nn.Linear(16, 1)
    nn.init.normal_(scaled.weight, std=200.0)
    assert spoken("DAT003", scaled, batch) == []
    assert spoken("DAT003", nn.Linear(16, 1), batch, lambda o, t: F.mse_loss(o, t / 1000)) == []


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (INPUTS, []),
        (INPUTS[:1].expand(64, 16), ["warning"]),
        (INPUTS[:1].expand(64, 16).contiguous(), ["warning"]),
        (torch.cat([INPUTS[:63], INPUTS[:1]]), []),
        (torch.zeros(64, 16), ["warning"]),
        (torch.ones(64, 1), []),
        (INPUTS[:1], []),
        (torch.cat([torch.randn(300, 15), torch.ones(300, 1)], 1), ["info"]),
        (torch.cat([torch.randn(64, 15), torch.ones(64, 1)], 1), []),
        (torch.cat([torch.randn(300, 8), torch.zeros(300, 8)], 1), []),
    ],
)
def test_samples_that_do_not_differ(inputs: torch.Tensor, expected: list[str]) -> None:
    assert spoken("DAT004", nn.Linear(inputs.shape[1], 3), (inputs, torch.randint(3, (len(inputs),)))) == expected


def test_the_channels_of_one_grey_picture_are_no_samples() -> None:
    grey = torch.randn(1, 8, 8).expand(3, 8, 8)
    model = nn.Sequential(nn.Flatten(0), nn.Linear(192, 5))
    assert spoken("DAT004", model, grey) == []


def test_a_blank_channel() -> None:
    pictures = torch.cat([torch.randn(8, 3, 8, 8), torch.ones(8, 1, 8, 8)], 1)
    assert spoken("DAT004", nn.Conv2d(4, 3, 1), (pictures, torch.randint(3, (8, 8, 8)))) == ["info"]


@pytest.mark.parametrize(("labels", "expected"), [((0, 1), ["unsigned"]), ((-1, 1), [])])
def test_labels_of_a_loss_that_knows_minus_one(labels: tuple[int, int], expected: list[str]) -> None:
    targets = torch.tensor(labels).repeat(16).float()
    report = gs.check(nn.Linear(8, 1), (torch.randn(32, 8), targets[:, None]), nn.SoftMarginLoss(), select="DAT002")
    assert [f.evidence["kind"] for f in report.findings] == expected


@pytest.mark.parametrize(
    ("targets", "inputs", "expected"),
    [
        (torch.rand(1, 6).expand(32, 6), torch.randn(32, 8), ["one_answer"]),
        (torch.rand(1, 6).expand(8, 6), torch.randn(8, 8), []),
        (torch.rand(32, 6), torch.randn(32, 8), []),
        (torch.zeros(32, 6), torch.randn(32, 8), []),
        (torch.eye(6)[:1].expand(32, 6), torch.randn(32, 8), []),  # the right one stands first
        (torch.rand(1, 6).expand(32, 6), torch.randn(1, 8).expand(32, 8), []),  # DAT004's
    ],
)
def test_one_answer_for_all(targets: torch.Tensor, inputs: torch.Tensor, expected: list[str]) -> None:
    report = gs.check(nn.Linear(8, 6), (inputs, targets.clone()), nn.MSELoss(), select="DAT002")
    assert [f.evidence["kind"] for f in report.findings if f.severity != "info"] == expected


class Rated(nn.Module):
    """A column and a row are added up, or two rows."""

    def __init__(self, crossed: bool) -> None:
        super().__init__()
        self.first, self.second, self.crossed = nn.Linear(16, 1), nn.Linear(16, 1), crossed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        column, row = self.first(x), self.second(x).squeeze(1)
        return column + row if self.crossed else column.squeeze(1) + row


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(("crossed", "expected"), [(True, [("DAT002", "wiring")]), (False, [])])
def test_outputs_that_are_crossed_inside_of_the_model(crossed: bool, expected: list[tuple[str, str]]) -> None:
    report = gs.check(Rated(crossed), (torch.randn(32, 16), torch.randn(32)), nn.MSELoss(), select="DAT002")
    assert [(finding.code, finding.cause) for finding in report.findings] == expected


def clamped(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy as other libraries write it."""
    odds = outputs.clamp(1e-7, 1 - 1e-7)
    return -(targets * odds.log() + (1 - targets) * (1 - odds).log()).mean()


@pytest.mark.parametrize(
    ("targets", "cause"),
    [(TARGETS[:, None], "loss"), (TARGETS.sign()[:, None], "data"), ((TARGETS > 0).float()[:, None], None)],
    ids=["numbers", "signs", "labels"],
)
@pytest.mark.parametrize("loss", [clamped, nn.BCEWithLogitsLoss()], ids=["by hand", "torch's"])
def test_binary_cross_entropy_of_numbers_is_the_wrong_loss(
    targets: torch.Tensor, cause: str | None, loss: Loss
) -> None:
    model = nn.Sequential(nn.Linear(16, 1), *([nn.Sigmoid()] if loss is clamped else []))
    found = [f for f in findings("DAT002", model, (INPUTS, targets), loss) if f.severity == "error"]
    assert [finding.cause for finding in found] == ([] if cause is None else [cause])
