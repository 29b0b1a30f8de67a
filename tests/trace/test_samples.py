"""Without a batch: inputs from the signature of the first layers."""

from __future__ import annotations

import pytest
import torch
from models import MODELS, Recurrent, images
from torch import nn

import gainstage as gs
from gainstage.errors import InitializationError
from gainstage.trace.samples import required_arguments, sample_inputs


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        (lambda: nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)), ["1", "3"]),
        (lambda: nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 2)), ["1"]),
        (lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 3)), ["0", "2"]),
        (lambda: nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 6**3, 2)), ["0", "3"]),
        (lambda: nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(864, 10)),
         ["0", "4"]),
        (lambda: nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16), nn.Linear(8, 2)).eval(),
         ["0.self_attn.in_proj_weight[q]", "0.self_attn.out_proj", "0.linear1", "0.linear2", "1"]),
        (lambda: nn.Linear(8, 2).double(), [""]),
        (lambda: nn.Linear(8, 2).bfloat16(), [""]),
    ],
)  # fmt: skip
def test_layers_reached_without_a_batch(model, layers: list[str]) -> None:
    assert [row.layer for row in gs.initialize(model()).rows] == layers


def test_the_first_layer_that_is_registered_need_not_be_the_first_that_runs() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.body = nn.Linear(16, 3), nn.Linear(8, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x).relu())

    assert [row.layer for row in gs.initialize(Backwards()).rows] == ["body", "head"]


def test_samples_stay_small_and_draw_from_a_generator_of_their_own() -> None:
    model = nn.Conv3d(4, 8, 3)
    state = torch.get_rng_state()
    volumes = list(sample_inputs(model))
    assert max(volume.numel() for volume in volumes) < 8 * 4 * 100_000
    assert torch.equal(state, torch.get_rng_state())
    assert next(sample_inputs(Recurrent(nn.GRU).cell)).shape[-1] == 4


def test_what_no_batch_can_be_made_for_is_said() -> None:
    with pytest.raises(InitializationError, match=r"Pass one: gs.initialize\(model, batch\)"):
        gs.initialize(MODELS["own loss"]()[0])
    with pytest.raises(InitializationError, match="no lazy parameters, got 2 without a shape"):
        gs.initialize(nn.LazyLinear(3))
    with pytest.raises(InitializationError, match="Run the model on a batch once"):
        gs.initialize(nn.Sequential(nn.Conv2d(3, 4, 3), nn.LazyConv2d(4, 3)), images())


def test_a_model_without_parameters_has_nothing_to_initialize() -> None:
    assert gs.initialize(nn.Softmax(1)) == gs.InitReport((), (), ())


def test_a_forward_of_several_arguments_gets_the_same_for_each() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.source, self.target = nn.Embedding(50, 8), nn.Embedding(5, 8)
            self.head = nn.Bilinear(8, 8, 4)
            self.out = nn.Linear(4, 2)

        def forward(self, src: torch.Tensor, *, tgt: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
            return self.out(scale * self.head(self.source(src), self.target(tgt)))

    assert [row.layer for row in gs.initialize(Pair()).rows] == ["out"]
    assert required_arguments(Pair()) == ("src", "tgt")


def test_what_a_forward_takes_is_said_where_no_batch_can_be_made() -> None:
    class Odd(nn.Linear):
        def forward(self, left: torch.Tensor, right: int) -> torch.Tensor:
            return super().forward(left[right])

    with pytest.raises(InitializationError, match=r"its forward takes left, right\. Pass one"):
        gs.initialize(Odd(4, 2))
