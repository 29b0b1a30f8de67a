"""Small networks of each kind, and the slow twin of every operator: its dense matrix."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from gainstage.landscape import Objective
from gainstage.trace import Subject


class Attention(nn.Module):
    """A fused attention, whose fast kernels have no second derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(6, 18), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.inner(x.view(8, 2, 6)).view(8, 2, 3, 1, 6).permute(2, 0, 3, 1, 4)
        return self.head(F.scaled_dot_product_attention(q, k, v).mean((1, 2)))


class Embedded(nn.Module):
    """An embedding and a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.steps, self.head = nn.Embedding(7, 4), nn.GRU(4, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.steps(self.table(ids))[0][:, -1])


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)),
    "relu with batch norm": lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)),
    "conv": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.GELU(), nn.Flatten(), nn.Linear(8, 3)
    ),
    "attention": Attention,
    "embedding": Embedded,
}


def subject_of(name: str) -> Subject:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = NETWORKS[name]()
        x = torch.randint(7, (8, 5)) if name == "embedding" else torch.randn(8, 12 if name == "attention" else 6)
        return Subject(model, [(x, torch.randint(3, (8,))), (x.flip(0), torch.randint(3, (8,)))])


def function_of(objective: Objective, place: int = 0) -> tuple[Callable[..., torch.Tensor], torch.Tensor]:
    """Outputs as a function of the flat parameters, and the targets."""
    x, targets = objective.batches[place]
    shapes = {name: p.shape for name, p in zip(objective.names, objective.parameters, strict=True)}

    def outputs(vector: torch.Tensor) -> torch.Tensor:
        parts = vector.split([shape.numel() for shape in shapes.values()])
        values = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        # BatchNorm's buffers are written to: clones, so that each call starts from the same.
        values |= {name: buffer.clone() for name, buffer in objective.model.named_buffers()}
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return torch.func.functional_call(objective.model, values, (x,))

    return outputs, targets


def dense_hessian(objective: Objective, place: int = 0) -> torch.Tensor:
    outputs, targets = function_of(objective, place)
    return torch.autograd.functional.hessian(lambda w: F.cross_entropy(outputs(w), targets), objective.point())


def dense_gauss_newton(objective: Objective) -> torch.Tensor:
    """Jᵀ (diag p - p pᵀ) J by the full Jacobian, averaged over samples."""
    outputs, _ = function_of(objective)
    jacobian = torch.autograd.functional.jacobian(outputs, objective.point())
    shares = outputs(objective.point()).softmax(-1)
    bends = torch.diag_embed(shares) - shares[:, :, None] * shares[:, None, :]
    return torch.einsum("bcp,bcd,bdq->pq", jacobian, bends, jacobian) / len(shares)
