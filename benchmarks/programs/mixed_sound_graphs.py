"""Unusual but sound programs on graphs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.mixed_data import Batches
from programs.pair import Pair, Program, sound


class GraphAttention(nn.Module):
    def __init__(self, n_in: int, n_out: int, heads: int) -> None:
        super().__init__()
        self.h, self.o = heads, n_out
        self.lin = nn.Linear(n_in, heads * n_out, bias=False)
        self.src, self.dst = nn.Parameter(torch.empty(heads, n_out)), nn.Parameter(torch.empty(heads, n_out))
        nn.init.xavier_uniform_(self.src)
        nn.init.xavier_uniform_(self.dst)
        self.bias = nn.Parameter(torch.zeros(heads * n_out))

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        z = self.lin(x).view(len(x), self.h, self.o)
        e = F.leaky_relu((z * self.src).sum(-1)[:, None] + (z * self.dst).sum(-1)[None], 0.2)
        e = e.masked_fill(adjacency[..., None] == 0, float("-inf"))
        return torch.einsum("ijh,jho->iho", torch.softmax(e, 1), z).flatten(1) + self.bias


class GraphNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l1, self.l2 = GraphAttention(8, 8, 4), GraphAttention(32, 8, 4)
        self.out = nn.Linear(32, 3)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        return self.out(F.elu(self.l2(F.elu(self.l1(x, adjacency)), adjacency)))


def citations() -> Batches:
    """One graph a batch: its nodes' noisy features, who cites whom, and the nodes' classes."""
    nodes = 45
    centre = 0.45 * torch.randn(3, 8)
    batches: Batches = []
    for _ in range(16):
        y = torch.randint(0, 3, (nodes,))
        p = torch.where(y[:, None] == y[None], 0.22, 0.02)
        adjacency = torch.triu((torch.rand(nodes, nodes) < p).float(), 1)
        adjacency = adjacency + adjacency.t() + torch.eye(nodes)
        batches.append((centre[y] + 0.8 * torch.randn(nodes, 8), adjacency, y))
    return batches


@sound(
    source="graph attention, one graph a batch: -inf before the softmax where no edge is, safe with self loops, "
    "and nodes are meant to mix",
)
def graph_attention() -> Program:
    torch.manual_seed(416)
    batches = citations()
    model = GraphNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=5e-4)
    return Program(model, batches, nn.CrossEntropyLoss(), optimizer)


PAIRS: tuple[Pair, ...] = (graph_attention,)
