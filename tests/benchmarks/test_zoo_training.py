"""Whether an alarm at a network of the zoo is a true one: what a run on made data shows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from accuracy.zoo_alarms import section
from accuracy.zoo_training import is_true, scenes, trained, verdict
from torch import nn

import gainstage as gs
from zoo.case import Parts

VECTORS = torch.randn(64, 16), torch.randint(4, (64,))


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))


class Deaf(nn.Module):
    """Says the same of every input."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = mlp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(torch.ones_like(x))


class Idle(nn.Module):
    """Has a layer whose output nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.idle = mlp(), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.idle(x)
        return self.inner(x)


@pytest.mark.parametrize(
    ("build", "true", "said"),
    [
        (mlp, False, "a false alarm"), (Deaf, True, "does not train, a true alarm"),
        (Idle, True, "have not moved at all: a true alarm"),
    ],
)  # fmt: skip
def test_a_run_tells_true_alarms_from_false_ones(build: Callable[[], nn.Module], true: bool, said: str) -> None:
    model = build()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    row = trained(Parts(model, VECTORS), gs.check(model, VECTORS, select="GRD003").findings)
    assert row["data"] == "a pattern for each class in noise"
    assert is_true(row) is true
    assert verdict(row).endswith(f"{said}.")
    assert all(map(torch.equal, before, model.parameters()))


def test_a_run_that_breaks_down_is_a_true_alarm() -> None:
    assert is_true({"first": 2.0, "last": float("nan"), "ignorant": 2.0})


def test_scenes_hold_digits_of_four_classes_in_their_boxes() -> None:
    torch.manual_seed(0)
    batch = next(iter(scenes(2, 64)))
    assert [scene.shape for scene in batch["images"]] == [(3, 64, 64)] * 2
    for scene, told in zip(batch["images"], batch["targets"], strict=True):
        assert 1 <= len(told["boxes"]) == len(told["labels"]) <= 3
        assert set(told["labels"].tolist()) <= {1, 2, 3, 4}
        for left, top, right, bottom in told["boxes"].int().tolist():
            assert 0 <= left < right <= 64
            assert 0 <= top < bottom <= 64
            assert float(scene[:, top:bottom, left:right].max()) > 0.3  # the noise ends at 0.1


def test_the_page_counts_what_a_run_does_not_bear_out() -> None:
    run = {"data": "one batch", "rate": 0.01, "first": 2.0, "ignorant": 2.0}
    rows = [
        {"network": "sound", "alarms": []},
        {"network": "fine", "alarms": [("INI002", "warning", None)], **run, "last": 0.5},
        {
            "network": "stuck",
            "alarms": [("INI002", "warning", None), ("INI003", "error", "INI002")],
            **run,
            "last": 2.0,
        },
    ]
    text = section(rows)
    assert "With an error: 0.333 (1 of 3" in text
    assert "With a warning or an error: 0.667 (2 of 3" in text
    assert "does not bear out: 0.333 (1 of 3" in text
    assert "- `stuck`: INI002, (INI003). On one batch its loss goes from 2.00 to 2.00" in text
