"""GRD003 and OPT006: what is cut off by mistake, and what is apart on purpose."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gainstage as gs

Operation = Callable[[torch.Tensor], torch.Tensor]
BATCH = torch.randn(64, 16), torch.randint(3, (64,))


class Apply(nn.Module):
    def __init__(self, operation: Operation) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.operation(x)


def mlp(middle: Operation | None = None, end: Operation | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.Tanh(), *([Apply(middle)] if middle else [])]
    layers += [nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3), *([Apply(end)] if end else [])]
    return nn.Sequential(*layers)


def spoken(code: str, model: nn.Module | gs.Subject, loss: object = None, optimizer: object = None) -> list[str]:
    batch = None if isinstance(model, gs.Subject) else BATCH
    return [f.severity for f in gs.check(model, batch, loss, select=code, optimizer=optimizer).findings]


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        (None, []),
        (torch.Tensor.detach, ["warning"]),
        (torch.sign, ["warning"]),
        (torch.round, ["warning"]),
        (lambda x: x + (x.sign() - x).detach(), []),
    ],
)
def test_a_gradient_that_stops_on_the_way(middle: Operation | None, expected: list[str]) -> None:
    assert spoken("GRD003", mlp(middle)) == expected


def test_the_message_names_the_layer_and_the_operation() -> None:
    (finding,) = gs.check(mlp(torch.sign), BATCH, select="GRD003").findings

    assert finding.evidence == {"kind": "zero", "behind": "2", "ops": ["sign"]}
    assert finding.layers == ("0", "2")


@pytest.mark.parametrize("end", [torch.Tensor.detach, lambda x: x.argmax(1, keepdim=True).float().expand(-1, 3)])
def test_a_loss_without_a_gradient_is_an_error(end: Operation) -> None:
    assert spoken("GRD003", mlp(end=end), nn.CrossEntropyLoss()) == ["error"]


class Probe(nn.Module):
    """A head on a trunk that runs without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.head = mlp(), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            features = self.trunk(x)
        return self.head(features)


def test_a_trunk_under_no_grad_is_worth_knowing_only() -> None:
    assert spoken("GRD003", Probe()) == ["info"]


def test_what_the_optimizer_does_not_hold_is_not_meant_to_have_a_gradient() -> None:
    model = mlp(torch.Tensor.detach)
    assert spoken("GRD003", model, optimizer=torch.optim.SGD(model[5:].parameters(), lr=0.1)) == []


class Lora(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base, self.down, self.up = nn.Linear(16, 3), nn.Linear(16, 4, bias=False), nn.Linear(4, 3, bias=False)
        self.base.requires_grad_(False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.up(self.down(x))


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.experts, self.gate = nn.ModuleList([nn.Linear(16, 3) for _ in range(4)]), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, chosen = self.gate(x).softmax(-1)[:, :2].max(-1)  # two of the four are never chosen
        out = x.new_zeros(len(x), 3)
        for index, expert in enumerate(self.experts):
            rows = chosen == index
            if rows.any():
                out[rows] = weight[rows, None] * expert(x[rows])
        return out


class ZeroGamma(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(16, 16), nn.Linear(16, 16), nn.BatchNorm1d(16)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.norm(self.second(F.relu(self.first(x))))


def zero_head() -> nn.Module:
    model = mlp()
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    return model


@pytest.mark.parametrize(
    ("build", "most"),
    [
        (Lora, []), (Experts, ["info"]), (zero_head, []), (lambda: mlp().requires_grad_(False), []),
        (lambda: nn.Sequential(*[ZeroGamma() for _ in range(3)], nn.Linear(16, 3)), []),
    ],
)  # fmt: skip
def test_parts_that_are_idle_on_purpose(build: Callable[[], nn.Module], most: list[str]) -> None:
    assert spoken("GRD003", build()) == most


class Gan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.make = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
        self.judge = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))

    def judge_step(self, x: torch.Tensor) -> torch.Tensor:
        return F.softplus(self.judge(self.make(x).detach())).mean() + F.softplus(-self.judge(x)).mean()

    def make_step(self, x: torch.Tensor) -> torch.Tensor:
        return F.softplus(-self.judge(self.make(x))).mean()


def test_the_two_steps_of_a_gan() -> None:
    gan = Gan()
    judging = gs.Subject(gan, BATCH, forward=lambda model, batch: model.judge_step(batch[0]))
    making = gs.Subject(gan, BATCH, forward=lambda model, batch: model.make_step(batch[0]))
    assert spoken("GRD003", judging) == ["info"]
    assert spoken("GRD003", judging, optimizer=torch.optim.Adam(gan.judge.parameters())) == []
    assert spoken("OPT006", making, optimizer=torch.optim.Adam(gan.make.parameters())) == ["info"]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (lambda m: list(m.parameters()), []),
        (lambda m: list(m[:-1].parameters()), ["error"]),  # without the read-out
        (lambda m: list(m[0].parameters()), ["error"]),
        (lambda m: [*m[0].parameters(), *m[-1].parameters()], ["error"]),  # without the middle
        (lambda m: list(mlp().parameters()), ["error"]),  # another model's
        (lambda m: [*m.parameters(), nn.Parameter(torch.zeros(1))], []),  # and one of the loss
        (lambda m: list(m[4:].parameters()), ["info"]),  # a head on a trunk
        (lambda m: [p for p in m.parameters() if p.ndim > 1], ["info"]),  # as Muon wants it
        (lambda m: [p for p in m.parameters() if p.ndim == 1], ["info"]),
    ],
)
def test_what_an_optimizer_holds(held: Callable[[nn.Sequential], list[nn.Parameter]], expected: list[str]) -> None:
    model = mlp()
    assert spoken("OPT006", model, optimizer=torch.optim.SGD(held(model), lr=0.1)) == expected


def test_copies_of_half_precision_weights_are_held_on_purpose() -> None:
    model = mlp().bfloat16()
    copies = [nn.Parameter(parameter.detach().float()) for parameter in model.parameters()]
    subject = gs.Subject(model, (BATCH[0].bfloat16(), BATCH[1]), optimizer=torch.optim.SGD(copies, lr=0.1))
    assert spoken("OPT006", subject) == ["info"]


def test_not_assessed_without_what_it_needs() -> None:
    codes = {entry.code for entry in gs.check(mlp(), BATCH, select="OPT006").not_assessed}
    assert codes == {"OPT006"}
