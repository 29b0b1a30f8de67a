"""NUM001: NaN that a mask of infinities leaves, and updates that are no numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import gainstage as gs

TOKENS = torch.randn(8, 6, 16, generator=torch.Generator().manual_seed(0))


class Masked(nn.Module):
    """Attention that may not look at places after the given length, which may be none at all."""

    def __init__(self, fill: float) -> None:
        super().__init__()
        self.maps, self.head, self.fill = nn.Linear(16, 48), nn.Linear(16, 3), fill

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        q, k, v = self.maps(x).chunk(3, -1)
        hidden = torch.arange(x.shape[1]) >= lengths[:, None]
        scores = (q @ k.transpose(1, 2)).masked_fill(hidden[:, None], self.fill)
        return self.head(torch.softmax(scores, -1) @ v)


def kept(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of samples that hold something: the others' outputs are left out."""
    return nn.functional.cross_entropy(outputs[1:].flatten(0, 1), targets[1:].flatten())


@pytest.mark.parametrize(("fill", "expected"), [(float("-inf"), ["NUM001"]), (-1e9, [])])
@pytest.mark.parametrize("empty", [True, False])
def test_a_row_without_a_place_to_look_at(fill: float, expected: list[str], empty: bool) -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([0 if empty else 1, 2, 3, 4, 5, 6, 6, 6])
    batch = ((TOKENS, lengths), torch.arange(48).reshape(8, 6) % 3)
    found = [f for f in gs.check(Masked(fill), batch, kept, select="NUM001").findings if f.severity != "info"]
    assert [finding.code for finding in found] == (expected if empty else [])
    assert all("Mask with a large finite number" in finding.advice for finding in found)


@pytest.mark.parametrize(("dtype", "expected"), [(torch.float16, ["NUM001"]), (torch.float32, [])])
def test_an_update_that_is_no_number(dtype: torch.dtype, expected: list[str]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3)).to(dtype)
    model[0].weight.data[0] = 0  # a unit without a gradient: zero over zero
    model[0].bias.data[0] = -1
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batch = TOKENS[:, 0].to(dtype), torch.arange(8) % 3
    assert [f.code for f in gs.check(model, batch, optimizer=optimizer, select="NUM001").findings] == expected
