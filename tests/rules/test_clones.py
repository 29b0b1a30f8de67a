"""INI007: copies that stay equal are a fault, copies in a row are worth knowing, and shared weights are no copies."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

import gainstage as gs

BATCH = (torch.randn(64, 16), torch.randint(3, (64,)))


class Branches(nn.Module):
    """Branches side by side, put together by ``join``."""

    def __init__(self, join: Callable[[list[torch.Tensor]], torch.Tensor], *, cloned: bool = True) -> None:
        super().__init__()
        first = nn.Sequential(nn.Linear(16, 8), nn.ReLU())
        new = lambda: copy.deepcopy(first) if cloned else nn.Sequential(nn.Linear(16, 8), nn.ReLU())  # noqa: E731
        self.branches = nn.ModuleList([first, *(new() for _ in range(2))])
        self.join, self.head = join, nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.join([branch(x) for branch in self.branches]))


def mean(features: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(features).mean(0)


def severities(model: nn.Module, batch: object = BATCH) -> list[str]:
    return [finding.severity for finding in gs.check(model, batch, select="INI007").findings]


def test_branches_side_by_side() -> None:
    assert severities(Branches(mean)) == ["warning"]
    assert severities(Branches(mean, cloned=False)) == []


def test_copies_that_are_pushed_apart() -> None:
    assert severities(Branches(lambda features: features[0] - features[1] + 0.5 * features[2])) == ["info"]
    assert severities(Branches(lambda features: sum(nn.functional.dropout(f, 0.5) for f in features))) == ["info"]  # pyright: ignore


def test_heads_with_a_weight_each_in_the_read_out() -> None:
    model = Branches(lambda features: torch.cat(features, 1))
    model.head = nn.Linear(24, 3)
    assert severities(model) == ["info"]


def test_torchs_transformer_copies_its_layers() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), nn.Linear(16, 3))
    batch = torch.randn(8, 5, 16), torch.randn(8, 5, 3)
    report = gs.check(model, batch, select="INI007")
    assert [f.severity for f in report.findings] == ["info"]
    assert report.findings[0].evidence["weights"] == 8


def test_shared_constant_identity_and_norm_weights_are_no_copies() -> None:
    shared = nn.Linear(16, 16)
    assert severities(nn.Sequential(shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(16, 3))) == []
    plain = [nn.Linear(16, 16) for _ in range(2)]
    for linear, draw in ((plain[0], nn.init.eye_), (plain[1], nn.init.eye_)):
        draw(linear.weight)
    assert severities(nn.Sequential(*plain, nn.Linear(16, 3))) == []
    for linear in plain:
        nn.init.constant_(linear.weight, 0.1)
    assert severities(nn.Sequential(*plain, nn.Linear(16, 3))) == []
    norms = [nn.LayerNorm((4, 4)) for _ in range(2)]
    assert severities(nn.Sequential(nn.Unflatten(1, (4, 4)), *norms, nn.Flatten(), nn.Linear(16, 3))) == []


def test_a_target_network_that_does_not_train_is_a_copy_on_purpose() -> None:
    class Teacher(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student = nn.Linear(16, 3)
            self.teacher = copy.deepcopy(self.student)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                aim = self.teacher(x.flip(0))
            return self.student(x) - aim

    assert severities(Teacher()) == []
    frozen = Branches(mean)
    frozen.branches[1].requires_grad_(False)
    frozen.branches[2].requires_grad_(False)
    assert severities(frozen) == []


def test_not_assessed_without_gradients() -> None:
    trace = gs.record(Branches(mean), BATCH, backward=False)
    assert [p.twin for p in trace.parameters if p.twin] == ["branches.0.0.weight"] * 2
    rule = next(rule for rule in gs.rules.RULES if rule.code == "INI007")
    assert [type(entry).__name__ for entry in rule.check(trace)] == ["NotAssessed"]
