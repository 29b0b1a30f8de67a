"""Moments of what batch norms read, pooled over calls and batches while each norm applies its batch's statistics."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from gainstage.errors import SubjectError
from gainstage.trace import running


class Pool:
    """Count, mean and sum of squared deviations of each channel, joined call by call.

    Two sets of n_a and n_b values with means m_a, m_b have together, with δ = m_b - m_a and n = n_a + n_b,
    m = m_a + δ n_b/n and M₂ = M₂a + M₂b + δ² n_a n_b/n: no difference of large squares.

    References:
        Chan, Golub and LeVeque 1979, Updating formulae and a pairwise algorithm for computing sample variances.
    """

    def __init__(self) -> None:
        self.count = 0.0
        self.calls = 0
        self.mean: torch.Tensor | None = None
        self.deviations: torch.Tensor | None = None

    def add(self, count: float, mean: torch.Tensor, var: torch.Tensor) -> None:
        """Joins ``count`` values a channel with this mean and population variance."""
        self.calls += 1
        mean, deviations = mean.to(_wide(mean)), var.to(_wide(var)) * count
        if self.mean is None or self.deviations is None:
            self.count, self.mean, self.deviations = count, mean.clone(), deviations
            return
        total = self.count + count
        delta = mean - self.mean
        self.deviations += deviations
        self.deviations.addcmul_(delta, delta, value=self.count * count / total)
        self.mean.add_(delta, alpha=count / total)
        self.count = total

    def var(self, *, unbiased: bool = False) -> torch.Tensor:
        """The variance of all values, with divisor count, or count - 1."""
        assert self.deviations is not None
        return self.deviations / (max(self.count - 1, 1.0) if unbiased else self.count)


def _wide(tensor: torch.Tensor) -> torch.dtype:
    return torch.float32 if tensor.device.type == "mps" else torch.float64


@contextmanager
def pooling(norms: Mapping[str, _BatchNorm]) -> Generator[dict[str, Pool]]:
    """Inside, these norms apply batch statistics, and what they read is pooled; by path.

    A norm computes its batch's moments anyway: with a momentum of one it leaves them in its running statistics, where
    a hook collects them, so that nothing is reduced twice. Where that is not to be had they are computed. Buffers,
    flags and momenta must be put back by who calls this (`running.undisturbed`).

    Raises:
        SubjectError: where a norm reads a single value a channel.
    """
    pools: dict[str, Pool] = {path: Pool() for path in norms}
    handles: list[Any] = []
    try:
        for path, norm in norms.items():
            _prepare(norm)
            before = partial(_require_several, path)
            handles.append(norm.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(norm.register_forward_hook(partial(_collect, pools[path]), with_kwargs=True))
        yield pools
    finally:
        for handle in handles:
            handle.remove()


def _prepare(norm: _BatchNorm) -> None:
    norm.training, norm.momentum = True, 1.0
    # What stands there is multiplied by zero, which a NaN survives.
    for buffer, value in ((norm.running_mean, 0.0), (norm.running_var, 1.0), (norm.num_batches_tracked, 0)):
        if buffer is not None:
            buffer.fill_(value)


def _require_several(path: str, norm: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
    # Whatever the model does to its modes on the way, or a hook of the norm's own before this one.
    norm.training = True
    x = running.first_input(inputs, named)
    if x.numel() <= x.shape[1]:
        raise SubjectError(
            f"recalibrate: every batch must give a norm at least two values a channel, got input of shape "
            f"{tuple(x.shape)} ({path or '(root)'}). Leave out smaller batches, such as the last (drop_last=True)."
        )


def _collect(pool: Pool, norm: Any, inputs: tuple[Any, ...], named: dict[str, Any], _output: Any) -> None:
    x = running.first_input(inputs, named).detach()
    count = x.numel() / x.shape[1]
    mean, var = norm.running_mean, norm.running_var
    if _left_by_the_call(pool, norm):
        pool.add(count, mean, var * ((count - 1) / count))  # torch leaves the unbiased variance there
        return
    dims = [dim for dim in range(x.ndim) if dim != 1]
    wide = x if x.dtype is torch.float64 else x.float()
    var, mean = torch.var_mean(wide, dims, correction=0)
    pool.add(count, mean, var)


def _left_by_the_call(pool: Pool, norm: Any) -> bool:
    """Whether the running statistics are this call's own, in a type that holds them."""
    exact = norm.running_mean.dtype in (torch.float32, torch.float64)
    if isinstance(norm, nn.SyncBatchNorm) or not exact or norm.num_batches_tracked is None:
        return False
    if norm.num_batches_tracked.device.type != "cpu":  # asking would wait for the device at each call
        return type(norm).forward is _BatchNorm.forward
    return int(norm.num_batches_tracked) == pool.calls + 1
