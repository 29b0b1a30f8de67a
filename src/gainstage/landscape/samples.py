"""Gradients of parts of a batch: of each sample by itself, or of random microbatches."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from gainstage.errors import SubjectError
from gainstage.landscape.objective import Objective
from gainstage.seeding import generator, preserved_rng
from gainstage.trace.call import batch_loss, plain
from gainstage.trace.subject import Subject

# Numbers that the gradients of one call to vmap may take: 128 MiB in float32.
_HELD = 2**25


@dataclass(frozen=True)
class Coupling:
    """How far the samples of a batch are from having gradients of their own.

    Attributes:
        distance: ‖g - g'‖/‖g‖ between a batch's gradient and what its two halves' make together, dropout off: 0 up to
            rounding if samples are independent; infinite if half a batch cannot be run.
        summed: Whether the halves' gradients add up to the batch's: the loss is a sum, not a mean.
    """

    distance: float
    summed: bool = False


def batch_length(batch: Any) -> int:
    """Number of samples, the first dimension of a batch's first tensor that has one.

    Raises:
        SubjectError: if it holds no such tensor.
    """
    for leaf in pytree.tree_leaves(plain(batch)):
        if isinstance(leaf, torch.Tensor) and leaf.ndim:
            return len(leaf)
    raise SubjectError("landscape: a batch must hold a tensor with a dimension of samples, got none.")


def part_of(batch: Any, picks: torch.Tensor) -> Any:
    """The batch with some of its samples, in the order of ``picks``; what has no dimension of samples stays."""
    length = batch_length(batch)

    def pick(tensor: torch.Tensor) -> torch.Tensor:
        return tensor[picks.to(tensor.device)] if _sampled(tensor, length) else tensor

    return pytree.tree_map_only(torch.Tensor, pick, plain(batch))


def permutation(batch: Any, seed: int, index: int = 0) -> torch.Tensor:
    """A random order of a batch's samples, that of the index-th batch under this seed."""
    return torch.randperm(batch_length(batch), generator=generator(seed, "samples", str(index)))


def coupling(objective: Objective, batch: Any, seed: int) -> Coupling:
    """Measures whether the gradient of a batch is made of its samples' own."""
    length = batch_length(batch)
    if length < 2:
        return Coupling(0.0)
    halves = permutation(batch, seed).tensor_split(2)
    # Other random numbers for other samples (dropout, also inside of attention) would look like a coupling.
    switched = [module for module in objective.model.modules() if module.training and not _keeps_statistics(module)]
    for module in switched:
        module.training = False
    try:
        whole = objective.gradient(batch)[1].double()
        parts = [objective.gradient(part_of(batch, half))[1].double() for half in halves]
    except SubjectError:
        objective.gradient(batch)  # a subject that cannot be run at all says so itself
        return Coupling(math.inf)
    finally:
        for module in switched:
            module.training = True
    scale = float(whole.norm())
    mean = sum(part * (len(half) / length) for part, half in zip(parts, halves, strict=True))
    as_mean, as_sum = (_relative(whole - other, scale) for other in (mean, sum(parts)))
    return Coupling(as_mean) if as_mean <= as_sum else Coupling(as_sum, summed=True)


def _keeps_statistics(module: nn.Module) -> bool:
    """What applies its batch's statistics in training and others in eval mode has to keep these somewhere."""
    return hasattr(module, "running_mean") or next(module.buffers(recurse=False), None) is not None


def _relative(difference: torch.Tensor, scale: float) -> float:
    size = float(difference.norm())
    if not (math.isfinite(size) and math.isfinite(scale)):
        return 0.0  # nothing can be told; what is not finite is counted where it is met
    return size / scale if scale > 0 else (0.0 if size == 0 else math.inf)


def sample_gradients(objective: Objective, batch: Any, *, draw: int = 0) -> Iterator[torch.Tensor]:
    """The gradient of each sample's own loss, as the rows of matrices of a bounded number of rows.

    By `torch.func.vmap`; by a loop over batches of one sample for a model that it does not admit.

    Args:
        objective: Whose loss; a sample's loss must not depend on the other samples, which no batch norm in train
            mode grants.
        batch: Its samples.
        draw: Of the first sample's random numbers (dropout); each sample has its own.

    Returns:
        Matrices of samples x parameters, in the order of the batch.
    """
    length = batch_length(batch)
    rows = max(1, min(length, _HELD // objective.size))
    for first in range(0, length, rows):
        picks = torch.arange(first, min(first + rows, length))
        part = part_of(batch, picks)
        found = None if len(picks) == 1 else _vectorised(objective, part, draw + first)
        yield _looped(objective, part, draw + first) if found is None else found


def _looped(objective: Objective, batch: Any, draw: int) -> torch.Tensor:
    singles = [part_of(batch, torch.tensor([i])) for i in range(batch_length(batch))]
    return torch.stack([objective.gradient(single, draw=draw + i)[1] for i, single in enumerate(singles)])


class _Loss(nn.Module):
    """The loss of a batch as a module, for `torch.func.functional_call`."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.model = subject.model
        self._subject = subject

    def forward(self, batch: Any) -> torch.Tensor:
        """The loss."""
        return batch_loss(self._subject, self.model, batch)


def _vectorised(objective: Objective, batch: Any, draw: int) -> torch.Tensor | None:
    """None where vmap does not admit the model (values that decide what runs, buffers that are written to)."""
    length = batch_length(batch)
    leaves, form = pytree.tree_flatten(plain(batch))
    dims = tuple(0 if isinstance(leaf, torch.Tensor) and _sampled(leaf, length) else None for leaf in leaves)
    module = _Loss(objective.subject)
    fixed = {name: buffer.clone() for name, buffer in module.named_buffers()}
    names = [f"model.{name}" for name in objective.names]

    def loss_of(values: dict[str, torch.Tensor], *parts: Any) -> torch.Tensor:
        single = [p if dim is None else p.unsqueeze(0) for p, dim in zip(parts, dims, strict=True)]
        return torch.func.functional_call(module, {**fixed, **values}, (pytree.tree_unflatten(single, form),))

    values = {name: p.detach() for name, p in zip(names, objective.parameters, strict=True)}
    try:
        # Fused attention has no batching rule: each sample would be run by itself, with a warning of that.
        with preserved_rng(objective.seed_of(draw)), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            mapped = torch.func.vmap(torch.func.grad(loss_of), in_dims=(None, *dims), randomness="different")
            found = mapped(values, *leaves)
    except Exception:
        # What vmap refuses differs between releases of torch, by exceptions of many kinds: the loop decides.
        return None
    objective.cost.gradients += 1
    return torch.cat([found[name].reshape(length, -1) for name in names], dim=1).detach()


def _sampled(tensor: torch.Tensor, length: int) -> bool:
    return tensor.ndim > 0 and len(tensor) == length
