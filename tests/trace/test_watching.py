"""Outputs and terms of sums, shown as they pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gainstage.errors import SubjectError
from gainstage.trace import Subject, record
from gainstage.trace.watching import Seen, watched


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.map, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu_(self.map(x))
        y.add_(x, alpha=0.5)
        return self.head(y - self.map(y))


def test_outputs_are_those_that_a_recording_measures() -> None:
    subject = Subject(Residual(), (torch.randn(16, 4), torch.randint(3, (16,))))
    stds: dict[int, float] = {}
    layers = watched(subject, lambda seen: stds.update({seen.position: seen.output.std(correction=0).item()}))
    trace = record(subject, backward=False)
    assert [layer.name for layer in layers] == [layer.name for layer in trace.layers]
    for position, layer in enumerate(trace.layers):
        assert stds[position] == pytest.approx(layer.std, rel=1e-5)


def test_terms_are_what_was_added_also_in_place() -> None:
    torch.manual_seed(0)
    model, x = Residual(), torch.randn(16, 4)
    sums: list[Seen] = []

    def look(seen: Seen) -> None:
        if seen.terms:
            parts = tuple((term.clone(), origin) for term, origin in seen.terms)
            sums.append(Seen(seen.position, seen.output.clone(), seen.unit_dim, parts))

    layers = watched(Subject(model, x), look)
    y = torch.relu(model.map(x)).detach()
    z = y + 0.5 * x
    expected = [(y, 0.5 * x), (z, -model.map(z).detach())]
    assert [layers[seen.position].op for seen in sums] == ["add", "sub"]
    for seen, terms in zip(sums, expected, strict=True):
        for (found, _), term in zip(seen.terms, terms, strict=True):
            torch.testing.assert_close(found, term, rtol=1e-5, atol=1e-6)
    assert [origin for _, origin in sums[0].terms] == [(1,), ()]


def test_a_model_that_differentiates_on_its_way_is_run_with_gradients() -> None:
    class Differentiates(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.requires_grad_()
            return torch.autograd.grad(self.map(x).sum(), x, create_graph=True)[0]

    seen: list[int] = []
    watched(Subject(Differentiates(), torch.randn(3, 4)), lambda look: seen.append(look.position))
    assert seen
    with pytest.raises(SubjectError, match="the model must accept the batch"):
        watched(Subject(nn.Linear(2, 2), torch.randn(3, 4)), lambda look: None)
