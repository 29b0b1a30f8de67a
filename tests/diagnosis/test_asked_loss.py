"""A loss that is written by hand says what it takes when it is asked for the loss of made-up outputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gainstage as gs
from gainstage.trace.target_records import AskedLoss

Loss = Callable[[Tensor, Tensor], Tensor]


def asked(loss: Loss | nn.Module, targets: Tensor, outputs: int = 4) -> AskedLoss | None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, outputs), nn.Softplus())
    record = gs.check(model, (torch.randn(len(targets), 8), targets), loss).trace.loss_record
    assert record is not None
    return record.asked


def codes(model: nn.Module, targets: Tensor, loss: Loss) -> list[str]:
    torch.manual_seed(1)
    report = gs.check(model, (torch.randn(len(targets), 8), targets), loss)
    return [finding.code for finding in report.findings if finding.severity == "error"]


def one_hot(count: int = 32, classes: int = 4) -> Tensor:
    return F.one_hot(torch.arange(count) % classes, classes).float()


def categorical(p: Tensor, y: Tensor) -> Tensor:
    return -(y * p.clamp(1e-7, 1 - 1e-7).log()).sum(1).mean()


def normalized(p: Tensor, y: Tensor) -> Tensor:
    return categorical(p / p.sum(1, keepdim=True), y)


def binary(p: Tensor, y: Tensor) -> Tensor:
    p = p.clamp(1e-7, 1 - 1e-7)
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


def of_logits(z: Tensor, y: Tensor) -> Tensor:
    return (torch.logsumexp(z, 1) - (z * y).sum(1)).mean()


def binary_of_logits(z: Tensor, y: Tensor) -> Tensor:
    return (z.clamp(min=0) - z * y + torch.log1p(torch.exp(-z.abs()))).mean()


@pytest.mark.parametrize(
    ("loss", "scale"),
    [
        (lambda o, t: ((o - t) ** 2).mean(), 1.0),
        (lambda o, t: ((o - t) ** 2).mean(), 1e4),
        (lambda o, t: (o - t).abs().sum(), 1.0),
        (lambda o, t: torch.sqrt(((o - t) ** 2).mean() + 1e-12), 1.0),
        (lambda o, t: torch.log(torch.cosh(o - t)).mean(), 1.0),
        (nn.L1Loss(), 1e-3),
    ],
    ids=["squares", "large squares", "absolute", "root", "log-cosh", "L1Loss"],
)
def test_distances_take_values(loss: Loss | nn.Module, scale: float) -> None:
    assert asked(loss, scale * torch.randn(32, 4)) == AskedLoss("values")


def test_probabilities_of_one_class_and_of_each() -> None:
    assert asked(categorical, one_hot()) == AskedLoss("probabilities", each=False)
    assert asked(normalized, one_hot()) == AskedLoss("probabilities", each=False, normalizes=True)
    assert asked(binary, (torch.rand(32, 4) > 0.5).float()) == AskedLoss("probabilities")


@pytest.mark.parametrize("rare", [0.0, 1.0])
def test_each_is_judged_by_itself_whatever_the_balance(rare: float) -> None:
    targets = torch.full((32, 1), 1 - rare)
    targets[0] = rare
    assert asked(binary, targets, outputs=1) == AskedLoss("probabilities")
    assert asked(lambda o, t: binary(o, t) + 9 * (t * -o.clamp(1e-7).log()).mean(), targets, outputs=1) == AskedLoss(
        "probabilities"
    )
    assert not codes(ending(nn.Sigmoid(), outputs=1), targets, binary)


def test_logits_of_one_class_and_of_each() -> None:
    assert asked(of_logits, one_hot()) == AskedLoss("logits", each=False)
    assert asked(binary_of_logits, (torch.rand(32, 4) > 0.5).float()) == AskedLoss("logits")


def test_class_labels() -> None:
    labels = torch.arange(32) % 4
    rows = torch.arange(32)
    assert asked(lambda p, y: -p[rows, y].clamp(min=1e-7).log().mean(), labels) == AskedLoss(
        "probabilities", each=False
    )
    assert asked(lambda z, y: (torch.logsumexp(z, 1) - z[rows, y]).mean(), labels) == AskedLoss("logits", each=False)
    assert asked(lambda z, y: -z[rows, y].mean(), labels) == AskedLoss("log-probabilities", each=False)


def dice(o: Tensor, t: Tensor) -> Tensor:
    return 1 - (2 * (o * t).sum() + 1) / (o.sum() + t.sum() + 1)


def test_shares() -> None:
    assert asked(dice, one_hot()) == AskedLoss("shares")
    assert asked(lambda o, t: dice(o, t) - 1, one_hot()) == AskedLoss("shares")
    assert asked(lambda o, t: dice(o.sigmoid(), t), one_hot()) is None
    assert codes(ending(), one_hot(), dice) == ["ACT004"]
    assert not codes(ending(nn.Sigmoid()), one_hot(), dice)
    assert not codes(ending(), one_hot(), lambda o, t: dice(o.sigmoid(), t))


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (lambda o, t: 1 - dice(o.sigmoid(), t), one_hot()),
        (lambda o, t: -F.binary_cross_entropy_with_logits(o, t), one_hot()),
        (lambda o, t: -F.cross_entropy(o, t), torch.arange(32) % 4),
        (lambda o, t: -((o - t) ** 2).mean(), torch.linspace(-1, 1, 128).reshape(32, 4)),
    ],
    ids=["dice", "binary", "classes", "squares"],
)
def test_a_loss_that_prefers_wrong_answers(loss: Loss, targets: Tensor) -> None:
    assert codes(ending(), targets, loss) == ["OPT008"]
    assert not codes(ending(), targets, lambda o, t: -loss(o, t))


def test_a_score_of_probabilities_that_is_taken_for_a_loss() -> None:
    # Of logits such a score may be anything; behind a sigmoid there are none.
    assert codes(ending(nn.Sigmoid()), one_hot(), lambda o, t: 1 - dice(o, t)) == ["OPT008"]
    assert not codes(ending(nn.Sigmoid()), one_hot(), dice)


def test_an_optimizer_may_raise_what_is_to_be_raised() -> None:
    def score(outputs: Tensor, targets: Tensor) -> Tensor:
        return 1 - dice(outputs, targets)

    model, batch = ending(nn.Sigmoid()), (torch.randn(32, 8), one_hot())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, maximize=True)
    assert gs.check(model, batch, score, optimizer=optimizer, select="OPT008").findings == ()


def test_a_distance_with_labels_of_one_for_what_is_alike_prefers_nothing_wrong() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = ending()

        def forward(self, x: Tensor) -> Tensor:
            return (self.net(x[:, :8]) - self.net(x[:, 8:])).norm(dim=1)

    def contrastive(distance: Tensor, alike: Tensor) -> Tensor:
        return (alike * distance**2 + (1 - alike) * torch.relu(2 - distance) ** 2).mean()

    batch = torch.randn(32, 16), (torch.arange(32) % 2).float()
    assert "OPT008" not in [finding.code for finding in gs.check(Pair(), batch, contrastive).findings]


def test_a_loss_that_breaks_down_where_answers_are_sure() -> None:
    def fragile(o: Tensor, t: Tensor) -> Tensor:
        p = o.sigmoid()
        return -(t * p.log() + (1 - t) * (1 - p).log()).mean()

    def sound(o: Tensor, t: Tensor) -> Tensor:
        p = o.sigmoid()
        return -(t * (p + 1e-7).log() + (1 - t) * (1 - p + 1e-7).log()).mean()

    torch.manual_seed(0)
    batch = torch.randn(32, 8), one_hot()
    (finding,) = gs.check(ending(), batch, fragile, select="NUM001").findings
    assert (finding.severity, finding.evidence["kind"]) == ("warning", "singular")
    assert not gs.check(ending(), batch, sound, select="NUM001").findings


def test_targets_beyond_what_it_takes() -> None:
    found = asked(binary, (torch.arange(33) % 3).float().unsqueeze(1), outputs=1)
    assert found == AskedLoss("probabilities", beyond=1.0)


def focal(twice: bool) -> Loss:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        p = outputs.sigmoid()
        read = p if twice else outputs
        errors = F.binary_cross_entropy_with_logits(read, targets, reduction="none")
        return (
            ((p - targets).abs() ** 2 * errors).mean() if not twice else ((1 - torch.exp(-errors)) ** 2 * errors).mean()
        )

    return loss


def test_a_loss_that_squashes_twice_by_itself() -> None:
    targets = (torch.rand(32, 4) > 0.5).float()
    assert asked(focal(twice=True), targets) == AskedLoss("nothing")
    assert asked(focal(twice=False), targets) is None
    assert codes(ending(), targets, focal(twice=True)) == ["ACT004"]
    labels = torch.arange(32) % 4
    assert asked(lambda z, y: F.cross_entropy(z.softmax(1), y), labels) == AskedLoss("nothing")
    assert asked(lambda z, y: F.cross_entropy(z, y, label_smoothing=0.2), labels) is None
    assert asked(lambda z, y: (z.softmax(1).max() * 0 + 1) * F.cross_entropy(z, y, label_smoothing=0.2), labels) is None


@pytest.mark.parametrize(
    "loss",
    [
        nn.MSELoss(),  # the operation tells
        lambda o, t: (1 - F.cosine_similarity(o, t)).mean(),
        lambda o, t: o.mean() - t.mean(),
        lambda o, t: torch.relu(1 - o * t).mean(),
    ],
    ids=["named", "cosine", "critic", "hinge"],
)
def test_what_it_does_not_say_is_not_guessed(loss: Loss) -> None:
    assert asked(loss, one_hot()) is None


def test_what_the_loss_warns_of_meanwhile_is_not_shown(recwarn: pytest.WarningsRecorder) -> None:
    def talkative(o: Tensor, t: Tensor) -> Tensor:
        warnings.warn(f"outputs up to {float(o.detach().max()):.3g}", stacklevel=1)
        return ((o - t) ** 2).mean()

    assert asked(talkative, torch.randn(32, 4)) == AskedLoss("values")
    shown = {str(warning.message) for warning in recwarn}
    assert len(shown) == 1


def test_a_loss_that_counts_its_calls_is_left_as_it_was() -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
            if self.calls:
                raise RuntimeError("asked twice")
            self.calls += 1
            return ((outputs - targets) ** 2).mean()

    loss = Counting()
    assert asked(loss, torch.randn(32, 4)) is None
    assert loss.calls == 1


def ending(*last: nn.Module, outputs: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, outputs), *last)


@pytest.mark.parametrize(
    ("last", "loss"),
    [
        ([nn.ReLU()], normalized),
        ([], normalized),
        ([nn.Tanh()], categorical),
        ([nn.Sigmoid()], categorical),
        ([nn.ReLU()], binary),
        ([nn.Softmax(1)], of_logits),
        ([nn.Sigmoid()], binary_of_logits),
    ],
    ids=["relu", "none", "tanh", "sigmoid", "binary-relu", "softmax-twice", "sigmoid-twice"],
)
def test_an_output_that_the_loss_does_not_take(last: list[nn.Module], loss: Loss) -> None:
    assert codes(ending(*last), one_hot(), loss) == ["ACT004"]


@pytest.mark.parametrize(
    ("last", "loss"),
    [
        ([nn.Softmax(1)], categorical),
        ([nn.Softmax(1)], normalized),
        ([nn.Sigmoid()], normalized),
        ([nn.Softplus()], normalized),
        ([nn.Sigmoid()], binary),
        ([], of_logits),
        ([], binary_of_logits),
    ],
    ids=["softmax", "softmax-normalized", "sigmoid-normalized", "softplus", "sigmoid", "logits", "binary-logits"],
)
def test_an_output_that_it_takes(last: list[nn.Module], loss: Loss) -> None:
    assert not codes(ending(*last), one_hot(), loss)


def test_bounded_outputs_for_absolute_errors() -> None:
    targets = torch.randn(32, 1)
    assert codes(ending(nn.ReLU(), outputs=1), targets, nn.L1Loss()) == ["ACT004"]
    assert not codes(ending(nn.ReLU(), outputs=1), targets.abs(), nn.L1Loss())


def test_three_classes_on_one_sigmoid() -> None:
    targets = (torch.arange(33) % 3).float().unsqueeze(1)
    assert codes(ending(nn.Sigmoid(), outputs=1), targets, binary) == ["DAT002"]


def test_a_term_that_squashes_for_itself_is_not_squashed_twice() -> None:
    def dice_and_bce(z: Tensor, y: Tensor) -> Tensor:
        p = z.sigmoid()
        return 1 - 2 * (p * y).sum() / (p.sum() + y.sum() + 1) + F.binary_cross_entropy_with_logits(z, y)

    torch.manual_seed(0)
    rare = (torch.rand(32, 4) > 0.95).float()
    assert asked(dice_and_bce, rare) is None
    assert codes(nn.Linear(8, 4), rare, dice_and_bce) == []


def test_a_critic_is_asked_for_no_probabilities() -> None:
    signs = torch.where(torch.arange(32) % 2 == 0, 1.0, -1.0)[:, None]
    assert asked(lambda o, y: (o * y).mean(), signs, outputs=1) is None
    assert codes(nn.Linear(8, 1), signs, lambda o, y: -(o * y).mean()) == []
