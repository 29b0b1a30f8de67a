"""What a loss may read: ACT004 on outputs that do not fit it, and on those that do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gainstage as gs

X, LABELS = torch.randn(32, 16, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 3


def found(model: nn.Module, targets: torch.Tensor, loss: nn.Module) -> list[gs.Finding]:
    return [f for f in gs.check(model, (X, targets), loss).findings if f.severity != "info"]


def ending(*last: nn.Module, outputs: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, outputs), *last)


class Rows(nn.Module):
    """A sequence of outputs, turned so that `softmax` finds the classes in another dimension."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net, self.dim = ending(outputs=12), dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.log_softmax(self.net(x).view(-1, 3, 4), dim=self.dim)


@pytest.mark.parametrize("last", [nn.Softmax(dim=0), nn.LogSoftmax(dim=0), nn.LogSoftmax(dim=-2)])
def test_softmax_over_the_samples(last: nn.Module) -> None:
    finding, *_ = found(ending(last), LABELS, nn.NLLLoss())
    assert (finding.code, finding.severity) == ("ACT004", "error")
    assert "over 32 samples" in finding.message


@pytest.mark.parametrize(("dim", "expected"), [(0, ["ACT004"]), (1, []), (-2, [])])
def test_the_dimension_of_the_classes_in_a_sequence(dim: int, expected: list[str]) -> None:
    targets = torch.randint(3, (32, 4), generator=torch.Generator().manual_seed(0))
    assert [f.code for f in found(Rows(dim), targets, nn.NLLLoss())] == expected


@pytest.mark.parametrize(("last", "loss"), [(nn.Softmax(dim=1), nn.BCELoss()), (nn.Softmax(dim=-1), nn.MSELoss())])
def test_softmax_over_a_single_output_explains_that_nothing_moves(last: nn.Module, loss: nn.Module) -> None:
    first, *others = found(ending(last, outputs=1), (LABELS == 0).float()[:, None], loss)
    assert first.code == "ACT004"
    assert "is 1 whatever" in first.message
    assert {finding.consequence_of for finding in others} <= {"ACT004"}


def test_cross_entropy_over_a_single_class() -> None:
    finding, *_ = found(ending(outputs=1), torch.zeros(32, dtype=torch.long), nn.CrossEntropyLoss())
    assert (finding.code, "single output" in finding.message) == ("ACT004", True)


@pytest.mark.parametrize(
    ("last", "expected"), [((), ["ACT004"]), ((nn.Softmax(dim=1),), ["ACT004"]), ((nn.LogSoftmax(dim=1),), [])]
)
def test_kl_divergence_reads_log_probabilities(last: tuple[nn.Module, ...], expected: list[str]) -> None:
    targets = F.one_hot(LABELS, 3) * 0.9 + 0.1 / 3
    assert [f.code for f in found(ending(*last), targets, nn.KLDivLoss(reduction="batchmean"))] == expected


@pytest.mark.parametrize(
    ("last", "expected"),
    [((nn.Tanh(),), ["info"]), ((nn.Hardtanh(),), ["info"]), ((nn.Sigmoid(),), ["error"]), ((nn.GELU(),), [])],
)
def test_bounded_logits(last: tuple[nn.Module, ...], expected: list[str]) -> None:
    report = gs.check(ending(*last), (X, LABELS), nn.CrossEntropyLoss(), select="ACT004")
    assert [finding.severity for finding in report.findings] == expected


def test_logits_that_are_capped_on_purpose() -> None:
    class Capped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = ending()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 30 * torch.tanh(self.net(x) / 30)

    assert found(Capped(), LABELS, nn.CrossEntropyLoss()) == []


def test_cross_entropy_of_probabilities_over_one_output() -> None:
    assert [f.code for f in found(ending(outputs=1), torch.rand(32, 1).round(), nn.CrossEntropyLoss())] == ["ACT004"]
    assert found(ending(), F.one_hot(LABELS, 3).float(), nn.CrossEntropyLoss()) == []


def test_squared_errors_of_softmax_on_one_hot_targets() -> None:
    one_hot = F.one_hot(LABELS, 3).float()
    assert [f.severity for f in found(ending(nn.Softmax(dim=1)), one_hot, nn.MSELoss())] == ["warning"]
    # Probabilities to be matched, and scores without a softmax, are what squared errors are for.
    assert found(ending(nn.Softmax(dim=1)), torch.softmax(torch.randn(32, 3), 1), nn.MSELoss()) == []
    assert found(ending(), one_hot, nn.MSELoss()) == []


class Dice(nn.Module):
    """BCE with logits and a term on probabilities."""

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        probabilities = outputs.sigmoid()
        overlap = (probabilities * targets).sum() / (probabilities.sum() + targets.sum())
        return 1 - overlap + F.binary_cross_entropy_with_logits(outputs, targets)


@pytest.mark.parametrize(("last", "expected"), [((nn.ReLU(),), ["ACT004"]), ((nn.Sigmoid(),), ["ACT004"]), ((), [])])
def test_a_loss_of_several_terms(last: tuple[nn.Module, ...], expected: list[str]) -> None:
    targets = torch.rand(32, 1).round()
    assert [f.code for f in found(ending(*last, outputs=1), targets, Dice())] == expected


@pytest.mark.parametrize(
    ("last", "loss"),
    [
        (nn.ReLU(), lambda z, t: F.binary_cross_entropy_with_logits(z @ z.T, (t @ t.T).clamp(max=1))),
        (nn.Sigmoid(), lambda p, t: F.binary_cross_entropy_with_logits(torch.logit(p, 1e-6), t)),
    ],
)
def test_logits_that_the_loss_makes_itself(last: nn.Module, loss: object) -> None:
    assert found(ending(last, outputs=2), torch.rand(32, 2).round(), loss) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(("scale", "expected"), [(30.0, ["ACT004"]), (1.0, [])])
def test_a_batch_norm_behind_the_last_layer(scale: float, expected: list[str]) -> None:
    targets = scale * torch.randn(32, 2, generator=torch.Generator().manual_seed(1))
    model = ending(nn.BatchNorm1d(2), outputs=2)
    assert [f.code for f in found(model, targets, nn.MSELoss()) if f.code != "DAT003"] == expected
    assert found(ending(outputs=2), targets, nn.MSELoss()) == []


def test_outputs_that_are_no_probabilities() -> None:
    model, targets = ending(outputs=1), torch.rand(32, 1).round()
    report = gs.check(model, (X, targets), nn.BCELoss(), optimizer=torch.optim.SGD(model.parameters(), lr=0.1), steps=5)

    assert [(f.code, f.severity, f.module) for f in report.findings] == [("ACT004", "error", "2")]
    assert "BCEWithLogitsLoss" in report.findings[0].message + str(report)
    assert {entry.reason for entry in report.not_assessed if entry.code == "OPT001"} == {
        "the first step could not be measured: the outputs are no probabilities"
    }
    assert gs.Trace.from_json(report.trace.to_json()) == report.trace


def test_outputs_that_are_not_finite_are_no_matter_of_the_loss() -> None:
    model = ending(nn.Sigmoid(), outputs=1)
    with torch.no_grad():
        model[2].weight[0, 0] = torch.nan
    report = gs.check(model, (X, torch.ones(32, 1)), nn.BCELoss())

    assert [f.code for f in report.findings] == ["NUM001"]


@pytest.mark.parametrize(("before", "expected"), [(nn.Softmax(dim=1), ["ACT004"]), (nn.GELU(), [])])
def test_log_softmax_of_softmax(before: nn.Module, expected: list[str]) -> None:
    assert [f.code for f in found(ending(before, nn.LogSoftmax(dim=1)), LABELS, nn.NLLLoss())] == expected


def test_softmax_inside_of_the_model_is_its_own_matter() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.net = nn.Linear(16, 1), ending()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x * (1 + torch.softmax(self.gate(x), 0)))

    assert found(Gated(), LABELS, nn.CrossEntropyLoss()) == []


class Exponential(nn.Module):
    """The probabilities themselves, of their logarithms."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.exp()


def test_probabilities_that_are_taken_for_their_logarithms() -> None:
    finding, *_ = found(ending(nn.LogSoftmax(-1), Exponential()), LABELS, nn.NLLLoss())
    assert (finding.code, finding.severity) == ("ACT004", "error")
    assert "its mean is -0.3" in finding.message


def test_log_softmax_of_rectified_scores() -> None:
    finding, *_ = found(ending(nn.ReLU(), nn.LogSoftmax(-1)), LABELS, nn.NLLLoss())
    assert (finding.code, finding.severity) == ("ACT004", "error")
    assert "to the output of relu" in finding.message


@pytest.mark.parametrize("bias", [-9.0, 9.0])
def test_a_rectifier_that_lets_nothing_pass(bias: float) -> None:
    model = ending(nn.ReLU(), outputs=1)
    nn.init.constant_(model[-2].bias, bias)
    findings = [f for f in found(model, torch.rand(32, 1), nn.MSELoss()) if f.code == "ACT004"]
    assert [f.severity for f in findings] == (["error"] if bias < 0 else [])
    assert all("zero for every sample" in f.message for f in findings)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (F.one_hot(LABELS, 3).float(), []),
        (torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]).repeat(16, 1), ["ACT004"]),
        (torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.1, 0.9]]).repeat(16, 1), []),
    ],
)
def test_rows_of_several_ones(targets: torch.Tensor, expected: list[str]) -> None:
    assert [f.code for f in found(ending(), targets, nn.CrossEntropyLoss()) if f.severity != "info"] == expected


class SideBySide(nn.Module):
    """Scores of three classes and one number, in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(16, 64), nn.ReLU())
        self.classes, self.number = nn.Linear(64, 3), nn.Linear(64, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.trunk(x)
        return torch.cat([self.classes(hidden), self.number(hidden)], 1)


def test_heads_side_by_side_are_not_mistaken_for_one_another() -> None:
    def loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(outputs[:, :3], labels) + outputs[:, 3].square().mean()

    findings = gs.check(SideBySide(), (torch.randn(32, 16), LABELS), loss, select="ACT004").findings
    assert findings == ()


def test_scores_of_candidates_in_a_row() -> None:
    class Ranked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score = ending(outputs=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.score(x.flatten(0, 1)).view(len(x), -1)

    assert gs.check(Ranked(), (torch.randn(32, 3, 16), LABELS), nn.CrossEntropyLoss(), select="ACT004").findings == ()


def test_a_likelihood_of_several_is_written_by_hand_on_purpose() -> None:
    def multinomial(outputs: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        return -(outputs.log_softmax(1) * counts).sum(1).mean()

    counts = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]).repeat(16, 1)
    assert gs.check(ending(), (torch.randn(32, 16), counts), multinomial, select="ACT004").findings == ()


def test_zeros_behind_a_sum_are_zeros() -> None:
    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = ending(nn.ReLU())
            nn.init.constant_(self.net[-2].bias, -100.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x).sum(1)

    said = {finding.code: finding.cause for finding in found(Summed(), LABELS.float(), nn.MSELoss())}
    assert said["ACT004"] == "activation"


def test_each_part_of_a_loss_is_looked_at() -> None:
    class Coder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.back = ending(), nn.Sequential(nn.Linear(3, 16), nn.Sigmoid())

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            code = self.net(x)
            return self.back(code), code

    def loss(outputs: tuple[torch.Tensor, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        return outputs[1].square().mean() + F.mse_loss(outputs[0], targets)

    said = {finding.code: finding for finding in found(Coder(), X, loss)}
    assert said["ACT004"].module == "back.1"
    assert not found(Coder(), X.sigmoid(), loss)


def test_a_softmax_for_labels_that_go_together() -> None:
    several = torch.ones(32, 3)
    several[::2, 0] = 0
    said = {finding.code: finding.cause for finding in found(ending(nn.Softmax(1)), several, nn.MSELoss())}
    assert said == {"ACT004": "activation"}
    assert not found(ending(nn.Sigmoid()), several, nn.BCELoss())


def test_masks_that_are_still_a_picture() -> None:
    masks = 255.0 * (torch.arange(96) % 2).reshape(32, 3)
    said = {finding.code: finding.cause for finding in found(ending(nn.Sigmoid()), masks, nn.MSELoss())}
    assert said["ACT004"] == "data"


def compared(outputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Each output is to be most like itself among those of the batch."""
    return F.cross_entropy(outputs @ outputs.T, torch.arange(len(outputs)))


def in_the_first_half(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Squared errors of what a mask leaves."""
    return (((outputs - F.one_hot(targets, 3)) * (targets < 0)[:, None]) ** 2).sum()


def hinge(outputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return F.relu(outputs - 20).mean()


@pytest.mark.parametrize(("samples", "expected"), [(1, [("ACT004", "batch-size")]), (2, [])])
def test_a_loss_that_compares_the_samples_of_a_batch_needs_several(
    samples: int, expected: list[tuple[str, str]]
) -> None:
    report = gs.check(ending(), (X[:samples], LABELS[:samples]), compared)
    assert [(f.code, f.cause) for f in report.findings if f.severity != "info"] == expected


@pytest.mark.parametrize(("loss", "expected"), [(in_the_first_half, [("ACT004", "loss")]), (hinge, [])])
def test_a_loss_of_zero_is_a_fault_only_if_it_is_zero_for_all_outputs(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], expected: list[tuple[str, str]]
) -> None:
    report = gs.check(ending(), (X, LABELS), loss)
    assert [(f.code, f.cause) for f in report.findings if f.severity != "info"] == expected


class Scores(nn.Module):
    """What a user makes of two things."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.user, self.thing = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        user, (one, other) = self.user(x[:, :8]), (self.thing(x[:, 8:]), self.thing(x[:, 8:].flip(1)))
        return user * (one - other)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda o, _: -F.logsigmoid(o.sum()), ["ACT004"]),
        (lambda o, _: F.softplus(-torch.sum(o)), ["ACT004"]),
        (lambda o, _: -torch.log(torch.sigmoid(o.sum())), ["ACT004"]),
        (lambda o, _: -F.logsigmoid(o.sum(1)).mean(), []),
        (lambda o, _: F.softplus(-o.sum(1)).sum(), []),
        (lambda o, _: (o**2).sum().sqrt(), []),
    ],
)
def test_a_sigmoid_of_a_sum_over_the_batch(loss: Callable[..., torch.Tensor], expected: list[str]) -> None:
    report = gs.check(Scores(), (X, LABELS.float()), loss, select="ACT004")
    assert [finding.code for finding in report.findings] == expected
    if expected:
        assert report.findings[0].cause == "loss"
