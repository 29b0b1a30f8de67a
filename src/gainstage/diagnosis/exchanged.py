"""Whether it matters to a trained copy whose targets they are: its losses with the targets of other samples."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from statistics import fmean, pvariance
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from gainstage.diagnosis.passes import answered, copied_loss, inputs_of
from gainstage.seeding import generator
from gainstage.trace import call
from gainstage.trace.subject import Subject
from gainstage.trace.training_records import ExchangeRecord

# Of so many trained batches; those that were held out are all looked at, being few.
SEEN = 4
# Losses of each batch with its targets in another order: with these the noise of one is known to a fifth.
ORDERS = 16
# Asking costs this many losses of each batch, which of more outputs than this would be no longer free.
MOST = 1_000_000
# In fewer samples an order is hardly another.
FEWEST = 4
# Columns of the inputs that are looked at for what ties them together, and how far beyond chance that goes in numbers
# that were drawn one by one.
COLUMNS, DRAWN = 64, 2.0


def exchanged(run: Subject, trained: Sequence[Any], unseen: Sequence[Any], seed: int) -> ExchangeRecord | None:
    """What the right targets are worth to a trained copy, on batches that it was trained on and on others.

    It costs a forward pass in eval mode for each batch, and `ORDERS` losses of its outputs.

    Args:
        run: The trained copy; stays as it is.
        trained, unseen: The batches; the first few of those that it was trained on are enough.
        seed: Of the orders.

    Returns:
        The record; None where targets are no tensors with an entry for each sample, or without held-out batches.
    """
    if run.forward is not None or not unseen:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asked = run if run.loss is None else run.replace(loss=copied_loss(run.loss))
            known = [_worth(asked, batch, seed) for batch in trained[:SEEN]]
            new = [_worth(asked, batch, seed) for batch in unseen]
        lawful = _tied([*trained[:SEEN], *unseen])
    except Exception:  # A loss may keep its targets elsewhere, or know one order of the samples alone.
        return None
    noise = math.sqrt(sum(variance for _, variance in new)) / len(new)
    return ExchangeRecord(fmean(worth for worth, _ in known), fmean(worth for worth, _ in new), noise, lawful)


def _worth(subject: Subject, batch: Any, seed: int) -> tuple[float, float]:
    """By how much a batch's loss is lower than with its targets in other orders, and the variance if it were not.

    Raises:
        ValueError: if its targets have no entry for each sample.
    """
    batch = call.to_device(batch, subject.model)
    targets = call.unpack(batch).targets
    entries = [tensor for _, tensor in call.tensors_of(targets)]
    samples = {len(tensor) if tensor.ndim else 0 for tensor in entries}
    count = samples.pop() if len(samples) == 1 else 0
    outputs = answered(subject, batch, seed)
    said = call.prediction(outputs)
    if count < FEWEST or said is None or said.numel() > MOST or call.own_loss(outputs) is not None:
        raise ValueError("no targets to exchange")
    losses = [_loss(subject, outputs, _in_order(targets, order)) for order in _orders(count, seed)]
    right, others = losses[0], losses[1:]
    return fmean(others) - right, pvariance(others) * (1 + 1 / ORDERS) * ORDERS / (ORDERS - 1)


def _orders(count: int, seed: int) -> Iterator[Tensor]:
    """The order as it is, and then others."""
    yield torch.arange(count)
    random = generator(seed, "orders")
    for _ in range(ORDERS):
        yield torch.randperm(count, generator=random)


def _in_order(targets: Any, order: Tensor) -> Any:
    return pytree.tree_map_only(torch.Tensor, lambda tensor: tensor[order.to(tensor.device)], targets)


def _loss(subject: Subject, outputs: Any, targets: Any) -> float:
    # A loss may differentiate by itself, or write to what it is given.
    with torch.enable_grad():
        own = pytree.tree_map_only(torch.Tensor, torch.clone, outputs)
        name, _, compute = call.choose_loss(subject, own, targets)
        if name == "surrogate":
            raise ValueError("no targets to exchange")
        return float(call.scalar_loss(compute(), "loss").detach())


def _tied(batches: Sequence[Any]) -> bool:
    """Whether some input has more order in it than numbers that are drawn one by one, which belong to no target."""
    series = [inputs_of(call.plain(batch)) for batch in batches]
    return any(
        _in_columns(torch.cat(tensors)) if tensors[0].is_floating_point() else _in_counts(torch.cat(tensors))
        for tensors in zip(*series, strict=True)
        if len({tensor.shape[1:] for tensor in tensors}) == 1 and not tensors[0].is_complex()
    )


def _in_columns(values: Tensor) -> bool:
    """Whether features, or neighbouring places, go together."""
    flat = values.detach().flatten(1) if values.ndim > 1 else values.detach()[:, None]
    start = max(0, flat.shape[1] - COLUMNS) // 2
    columns = flat[:, start : start + COLUMNS].double()
    columns = columns[:, columns.std(0) > 0]
    samples, width = columns.shape
    if width < 2:
        return False
    ties = torch.corrcoef(columns.T)[torch.triu_indices(width, width, 1).unbind()]
    return float(ties.square().mean()) * samples > DRAWN


def _in_counts(values: Tensor) -> bool:
    """Whether some tokens are more frequent than others."""
    _, counts = values.detach().flatten().unique(return_counts=True)
    counts = counts.double()
    return len(counts) > 1 and float((counts - counts.mean()).square().mean() / counts.mean()) > DRAWN
