"""Moments joined across the ranks of a process group, all of which succeed or none."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist

from gainstage.errors import SubjectError
from gainstage.trace.pooling import Pool


def distributed() -> bool:
    """Whether there are other ranks."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@contextmanager
def require_all_ranks(operation: str) -> Generator[None]:
    """What is done inside is done by all ranks: if one fails or is interrupted, the others raise as well.

    Raises:
        SubjectError: if it was another rank that failed.
    """
    try:
        yield
    except BaseException:
        if distributed():
            _failures(1.0)
        raise
    if distributed() and _failures(0.0):
        raise SubjectError(f"{operation}: every rank must run through, got a failure on another one. See its message.")


def _failures(mine: float) -> float:
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    flag = torch.tensor([mine], device=device)
    dist.all_reduce(flag)
    return float(flag)


def join_ranks(pools: Sequence[Pool]) -> None:
    """Gives every rank the moments of all, in place, by two sums: of n and n·m, then of M₂ + n (m - μ)².

    Channels of a norm that a rank did not run count as none there.
    """
    if not distributed() or not pools:
        return
    counts = _summed_counts(pools)
    widths = [width for _, _, width in counts]
    like = next((pool.mean for pool in pools if pool.mean is not None), torch.zeros((), dtype=torch.float64))
    firsts = [_part(pool, width, like) for pool, width in zip(pools, widths, strict=True)]
    sums = torch.cat(firsts) if sum(widths) else like.new_zeros(1)
    dist.all_reduce(sums)
    means = [part / max(total, 1.0) for part, (total, _, _) in zip(sums.split(widths), counts, strict=True)]
    around = [_around(pool, mean) for pool, mean in zip(pools, means, strict=True)]
    second = torch.cat(around)
    dist.all_reduce(second)
    for pool, mean, deviations, (total, calls, width) in zip(pools, means, second.split(widths), counts, strict=True):
        if width:
            pool.count, pool.calls, pool.mean, pool.deviations = total, calls, mean.clone(), deviations.clone()


def _summed_counts(pools: Sequence[Pool]) -> list[tuple[float, int, int]]:
    """Values and calls on all ranks, and the number of channels, which only a rank that ran the norm knows."""
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    mine = torch.tensor([[pool.count, pool.calls] for pool in pools], dtype=torch.float64, device=device)
    wide = torch.tensor([0 if pool.mean is None else len(pool.mean) for pool in pools], device=device)
    dist.all_reduce(mine)
    dist.all_reduce(wide, dist.ReduceOp.MAX)
    return [(total, int(calls), width) for (total, calls), width in zip(mine.tolist(), wide.tolist(), strict=True)]


def _part(pool: Pool, width: int, like: torch.Tensor) -> torch.Tensor:
    return like.new_zeros(width) if pool.mean is None else pool.mean * pool.count


def _around(pool: Pool, mean: torch.Tensor) -> torch.Tensor:
    if pool.mean is None or pool.deviations is None:
        return torch.zeros_like(mean)
    return pool.deviations + pool.count * (pool.mean - mean) ** 2
