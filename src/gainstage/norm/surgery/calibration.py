"""Running statistics set to those of the data: precise batch norm, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from gainstage.errors import InputError, SubjectError
from gainstage.norm.surgery.copying import operated
from gainstage.norm.surgery.ranks import join_ranks, require_all_ranks
from gainstage.norm.surgery.records import Change, Left, Surgery
from gainstage.norm.surgery.sites import NormSite, norm_sites
from gainstage.trace.pooling import Pool, pooling
from gainstage.trace.running import AnyForward, outputs_of, set_mode, undisturbed
from gainstage.trace.subject import batch_series

_NOTHING = object()


@dataclass(frozen=True)
class Statistics:
    """What one batch norm's statistics were and are.

    Attributes:
        module: Dotted path.
        values: How many values a channel were pooled.
        calls: In how many calls, on all ranks.
        shift: rms over channels of (new mean - old mean)/new std.
        scale_ratio: Geometric mean over channels of new variance/old variance.
    """

    module: str
    values: int
    calls: int
    shift: float
    scale_ratio: float


@dataclass(frozen=True, eq=False, repr=False)
class Recalibrated(Surgery):
    """What `recalibrate` did.

    Attributes:
        batches: How many were read on this rank.
        statistics: A row for each norm, in order of registration.
    """

    batches: int = 0
    statistics: tuple[Statistics, ...] = ()

    def heading(self) -> list[str]:
        """The table of norms."""
        lines = [f"recalibrate: {len(self.changed)} changed over {self.batches} batches, {len(self.left)} left"]
        width = max([6, *(len(row.module) for row in self.statistics)])
        if self.statistics:
            lines.append(f"  {'module':<{width}} {'values':>10} {'calls':>6} {'shift':>9} {'var ratio':>10}")
        for row in self.statistics:
            figures = f"{row.values:>10} {row.calls:>6} {row.shift:>9.3g} {row.scale_ratio:>10.3g}"
            lines.append(f"  {row.module or '(root)':<{width}} {figures}")
        return lines


def recalibrate(
    model: nn.Module, batches: Any, forward: AnyForward | None = None, *, max_batches: int | None = None,
    unbiased: bool = False, training: bool = False, inplace: bool = False,
) -> Recalibrated:  # fmt: skip
    """Returns the model with the running statistics of its batch norms set to those of the data (precise batch norm).

    μ = Σ_b n_b m_b / Σ_b n_b,  σ² = E[x²] - μ² over all values x that the norm read in all calls and batches,

    where each norm applied the statistics of its own batch, as in training. All norms are set in one pass over the
    data. Moments are joined by Chan's formula in float64, across the ranks of a process group too, after which all
    have the same. ``num_batches_tracked`` becomes the number of calls, so that a cumulative average (momentum None)
    goes on with the right weight. Modes, momenta, generators and all other buffers stay as they are; when it raises or
    is interrupted, so do the statistics.

    Args:
        model: Any module.
        batches: One batch or a series of them, as in `Subject`; a one-shot iterator is read once and not kept.
        forward: ``(model, batch) -> anything`` that runs the model; None: it is called on the batch's inputs.
        max_batches: Read so many at most.
        unbiased: Divide by n - 1, as torch's running variance is; else by n, with which the model in eval mode
            computes on a single batch what it does in training mode.
        training: Keep modules other than batch norms and dropouts in the modes they have, for models whose forward
            depends on the mode; by default all are in eval mode.
        inplace: Change the model itself.

    Returns:
        `Recalibrated`; norms that did not run, or have no running statistics, are left.

    Raises:
        InputError: if the model cannot be copied, or max_batches is not positive.
        SubjectError: if there is no batch, one has no admitted form, or one gives a norm a single value a channel;
            on all other ranks if one rank fails.

    Validity:
        The data must be drawn as in training, augmentation included. Batches should be of the training's size: the
        statistics of later norms depend on what earlier ones do with their batch. Ranks may have different numbers
        of batches; synchronized norms apply their own rank's statistics meanwhile. Statistics that a
        forward hands to ``torch.nn.functional.batch_norm`` itself stay as they were.

    Example:
        >>> net = nn.Sequential(nn.BatchNorm1d(2))
        >>> data = [torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[5.0, 8.0], [7.0, 8.0], [9.0, 0.0]])]
        >>> norm = recalibrate(net, data).model[0]
        >>> norm.running_mean, norm.running_var
        (tensor([5., 4.]), tensor([ 8.0000, 12.8000]))

    References:
        Wu and Johnson 2021, Rethinking "Batch" in BatchNorm, section 3.
    """
    if max_batches is not None and max_batches < 1:
        raise InputError(f"recalibrate: max_batches must be at least 1, got {max_batches}. Leave it out to read all.")
    model = operated("recalibrate", model, inplace=inplace)
    norms, left = _recalibrated(norm_sites(model))
    stream = batches if isinstance(batches, Iterator) else batch_series(batches)
    with require_all_ranks("recalibrate"):
        count, pools = _pooled(model, norms, islice(stream, max_batches), forward, training=training)
    join_ranks(list(pools.values()))
    rows: list[Statistics] = []
    for path, norm in norms.items():
        if pools[path].calls:
            rows.append(_set_statistics(path, norm, pools[path], unbiased=unbiased))
        else:
            left.append(Left(path, type(norm).__name__, "it did not run"))
    changed = tuple(Change(row.module, f"{type(norms[row.module]).__name__} recalibrated") for row in rows)
    return Recalibrated("recalibrate", model, changed, tuple(left), batches=count, statistics=tuple(rows))


def _recalibrated(sites: tuple[NormSite, ...]) -> tuple[dict[str, _BatchNorm], list[Left]]:
    norms: dict[str, _BatchNorm] = {}
    left: list[Left] = []
    for site in sites:
        if site.kind == "frozen_batch":
            left.append(Left(site.path, site.label, "its class is frozen"))
        elif site.kind not in ("batch", "sync_batch"):
            if site.tensor("running_mean") is not None:
                left.append(Left(site.path, site.label, "instance statistics are averaged, not pooled"))
        elif not site.channels:
            left.append(Left(site.path, site.label, site.obstacle))
        elif site.tensor("running_mean") is None:
            left.append(Left(site.path, site.label, "it has no running statistics"))
        else:
            norms[site.path] = cast("_BatchNorm", site.module)
    return norms, left


def _pooled(
    model: nn.Module, norms: Mapping[str, _BatchNorm], stream: Iterator[Any], forward: AnyForward | None, *,
    training: bool,
) -> tuple[int, dict[str, Pool]]:  # fmt: skip
    """Number of batches, and the moments of each norm."""
    first = next(stream, _NOTHING)
    if first is _NOTHING:
        raise SubjectError("recalibrate: batches must hold at least one batch, got none. Pass a fresh iterator.")
    quiet = _quiet(model, training=training)
    for gradients in (False, True):
        count = 0
        try:
            with undisturbed(model, gradients=gradients), pooling(norms) as pools:
                set_mode(quiet, training=False)
                for batch in chain([first], stream):
                    outputs_of(model, batch, forward)
                    count += 1
                return count, pools
        except Exception:
            # A model that differentiates something on its way fails at once without gradients.
            if gradients or count:
                raise
    raise AssertionError("unreachable: the second round returns or raises")


def _quiet(model: nn.Module, *, training: bool) -> list[nn.Module]:
    """The modules that run in eval mode: all, or those that drop something out."""
    modules = list(model.modules())
    if not training:
        return modules
    return [m for m in modules if "drop" in type(m).__name__.lower() or "stochasticdepth" in type(m).__name__.lower()]


@torch.no_grad()
def _set_statistics(path: str, norm: _BatchNorm, pool: Pool, *, unbiased: bool) -> Statistics:
    """Writes into the buffers that the norm has, which others may share."""
    assert pool.mean is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, var = pool.mean, pool.var(unbiased=unbiased)
    old_mean, old_var = norm.running_mean.to(mean), norm.running_var.to(mean)
    least = torch.finfo(torch.float32).tiny
    shift = ((mean - old_mean).square() / var.clamp_min(least)).mean().sqrt()
    ratio = (var.clamp_min(least) / old_var.clamp_min(least)).log().mean().exp()
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.fill_(pool.calls)
    return Statistics(path, round(pool.count), pool.calls, float(shift), float(ratio))
