"""Models in half precision, with complex buffers, and of one type alone: computed as asked, or refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gainstage import landscape
from gainstage.errors import InputError, SubjectError
from gainstage.landscape import Objective
from gainstage.landscape.precision import cast_model_, working_dtype
from gainstage.trace import Subject


def batch_of(samples: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    return torch.randn(samples, 8, generator=made), torch.randint(3, (samples,), generator=made)


def halved() -> Subject:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3)).bfloat16()
    x, targets = batch_of()
    return Subject(model, (x.bfloat16(), targets))


class Rotary(nn.Module):
    """Turns pairs of features by complex numbers, as rotary embeddings do."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.head = nn.Linear(8, 8), nn.Linear(8, 3)
        self.register_buffer("turns", torch.polar(torch.ones(4), torch.arange(4.0) + 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pairs = torch.view_as_complex(self.map(x).reshape(-1, 4, 2)) * self.turns
        return self.head(torch.view_as_real(pairs).flatten(1))


def test_complex_buffers_keep_both_parts_in_another_type() -> None:
    given = Subject(Rotary(), batch_of())
    single, double = (Objective(given, dtype=dtype) for dtype in (None, torch.float64))
    assert double.model.turns.dtype is torch.complex128
    assert double.loss(double.batches[0]) == pytest.approx(single.loss(single.batches[0]), rel=1e-5)


def test_complex_inputs_come_along() -> None:
    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.map(torch.view_as_real(x).flatten(1))

    given = Subject(Parts(), torch.complex(torch.ones(2, 2), torch.ones(2, 2)))
    assert Objective(given, dtype=torch.float64).batches[0].dtype is torch.complex128


PROBES: dict[str, Callable[..., Any]] = {
    "curvature": landscape.curvature,
    "hessian_trace": landscape.hessian_trace,
    "gradient_noise": landscape.gradient_noise,
    "smoothness": lambda subject, **more: landscape.smoothness(subject, lr=0.01, **more),
    "covariate_shift": lambda subject, **more: landscape.covariate_shift(subject, lr=0.01, **more),
}


@pytest.mark.parametrize("name", list(PROBES))
def test_half_precision_is_computed_in_single(name: str) -> None:
    assert PROBES[name](halved()) == PROBES[name](halved(), dtype=torch.float32)


def test_rounding_of_halves_is_no_coupling_of_samples() -> None:
    assert landscape.gradient_noise(halved()).method == "per-sample"


def test_what_was_asked_for_is_what_is_computed_in() -> None:
    model = nn.Linear(2, 1)
    assert working_dtype(model, None) is None
    assert working_dtype(model.half(), torch.float16) is torch.float16
    with pytest.raises(InputError, match=r"dtype must be one of torch\.float64, .*, got torch\.int32"):
        cast_model_(model, torch.int32)


def test_a_model_of_one_type_alone_is_pointed_to_dtype() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.GRU(8, 4, batch_first=True), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            states, _ = self.cell(x[:, None], torch.zeros(1, len(x), 4))
            return self.head(states[:, 0])

    with pytest.raises(SubjectError, match=r"trains in torch\.float64; pass another dtype= if not"):
        landscape.effective_lr(Fixed(), batch_of(), lr=0.1)
    assert landscape.effective_lr(Fixed(), batch_of(), lr=0.1, dtype=torch.float32).parameters
