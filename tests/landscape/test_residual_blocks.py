"""Branch over stream at residual additions, as each arrives there."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gainstage.errors import SubjectError
from gainstage.landscape import residual_balance


class Block(nn.Module):
    """x + αf(x), in one of the ways that are in use; keeps what it added."""

    def __init__(self, width: int, *, alpha: float | None = None, how: str = "sum", norm: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width) if norm else nn.Identity()
        self.map, self.how = nn.Linear(width, width), how
        self.alpha = None if alpha is None else nn.Parameter(torch.tensor(alpha))
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(self.map(self.norm(x)))
        y = y if self.alpha is None else self.alpha * y
        y = self.drop(y) if self.how == "dropout" else y
        if self.how == "in place":
            self.kept = x.clone(), y.clone()
            y += x
            return y
        if self.how == "weighted":
            self.kept = x, 0.25 * y
            return torch.add(x, y, alpha=0.25)
        self.kept = x, y
        return x + y


@pytest.mark.parametrize("how", ["sum", "in place", "weighted", "dropout", "alpha"])
def test_each_term_is_measured_as_it_is_added(how: str) -> None:
    torch.manual_seed(0)
    block = Block(6, alpha=0.3 if how == "alpha" else None, how=how)
    model = nn.Sequential(nn.Linear(4, 6), block).double()
    x = torch.randn(64, 4).double()
    (found,) = residual_balance(model, x).blocks
    torch.manual_seed(5)
    model(x)
    stream, branch = (tensor.detach() for tensor in block.kept)
    if how == "dropout":  # drawn anew: only the stream is the same
        assert found.branch_var == pytest.approx(float(branch.var(correction=0)), rel=0.3)
    else:
        assert found.branch_var == pytest.approx(float(branch.var(correction=0)))
        joint = torch.corrcoef(torch.stack([stream.reshape(-1), branch.reshape(-1)]))[0, 1]
        assert found.correlation == pytest.approx(float(joint))
        assert found.out_var == pytest.approx(float((stream + branch).var(correction=0)))
    assert found.stream_var == pytest.approx(float(stream.var(correction=0)))
    assert found.ratio == pytest.approx(found.branch_var / found.stream_var)
    assert found.share == pytest.approx(found.branch_var / found.out_var)
    assert (found.name, found.block) == ("1:add", 1)


def test_batch_norm_in_the_branch_makes_the_share_fall_as_de_and_smith_say() -> None:
    class Linear(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.branch = nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, width, bias=False))
            nn.init.normal_(self.branch[1].weight, std=width**-0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.branch(x)

    torch.manual_seed(0)
    found = residual_balance(nn.Sequential(*(Linear(128) for _ in range(6))), torch.randn(128, 128)).blocks
    assert len(found) == 6
    assert [block.share for block in found] == pytest.approx([1 / (n + 1) for n in range(1, 7)], rel=0.1)


def test_a_projection_on_the_skip_is_stream() -> None:
    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.skip = nn.Linear(4, 6)
            self.branch = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.branch(x) + self.skip(x)

    model = Projected()
    x = torch.randn(32, 4)
    (found,) = residual_balance(model, x).blocks
    assert found.stream_var == pytest.approx(model.skip(x).var(correction=0).item(), rel=1e-5)


def test_no_blocks_no_variance_and_nothing_finite() -> None:
    assert residual_balance(nn.Linear(2, 2), torch.randn(4, 2)).blocks == ()
    model = nn.Sequential(nn.Linear(4, 6), Block(6))
    with torch.no_grad():
        model[1].map.weight.zero_()
        model[1].map.bias.zero_()
    zero = residual_balance(model, torch.randn(8, 4)).blocks[0]
    assert (zero.ratio, zero.share, zero.correlation) == (0.0, 0.0, None)
    still = residual_balance(model, torch.zeros(8, 4) * math.nan).blocks[0]
    assert (still.ratio, still.share, still.correlation) == (None, None, None)
    with pytest.raises(SubjectError, match="the model must accept the batch"):
        residual_balance(model, torch.randn(8, 5))
