"""Looking at what a loss's operation is about to read, before it runs: a label that names no class would end it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from gainstage.trace.provenance import Provenance
from gainstage.trace.target_records import CrossingRecord, LabelRecord

_CLASSES = ("nll_loss_forward", "nll_loss2d_forward", "nll_loss_nd")
_PROBABILITIES = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
# Of a cross-entropy by hand it is the product with the targets.
_PAIRINGS = ("mse_loss", "smooth_l1_loss", "huber_loss", "sub", "rsub", "mul")
# A vocabulary over all tokens of a batch would be copied to no gain: some thousands of predictions tell the same.
MOST_SCORES = 2**20
UNIT_SUM = 0.01  # of probabilities, in half precision
LOOKED_AT = frozenset((*_CLASSES, *_PROBABILITIES, *_PAIRINGS))


def label_record(
    name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], batch_size: int | None, provenance: Provenance
) -> LabelRecord | None:
    """The labels that a loss's operation is called with; None of another operation, or where nothing is computed."""
    scores, target, *more = (*args, kwargs.get("target"))
    if name not in (*_CLASSES, *_PROBABILITIES) or not isinstance(target, torch.Tensor) or target.is_meta:
        return None
    given = provenance.is_given(target)
    per_sample = target.ndim == 1 and len(target) == batch_size
    if name in _PROBABILITIES:
        low, high = _extremes(target)
        improper = 0
        if name == "binary_cross_entropy":
            improper = int((~((scores >= 0) & (scores <= 1))).sum())
        mean_loss = _probability_loss(name, scores, target) if target.numel() and not improper else None
        return LabelRecord(
            name, target.numel(), None, low, high, improper=improper, given=given, per_sample=per_sample,
            mean_loss=mean_loss,
        )  # fmt: skip
    classes = scores.shape[0 if scores.ndim == 1 else 1]
    target = target.long()  # bytes are admitted by the loss, and by no lookup
    ignored = more[2] if len(args) > 4 else kwargs.get("ignore_index", -100)
    kept = target != ignored
    counting = target[kept]
    low, high = _extremes(counting)
    outside = 0
    if low is not None and high is not None and (low < 0 or high >= classes):
        outside = int(((counting < 0) | (counting >= classes)).sum())
    mean_loss = _class_loss(scores, target, kept) if counting.numel() and not outside else None
    found: tuple[float | None, ...] = () if outside else _agreement(scores, target, kept)
    return LabelRecord(name, counting.numel(), classes, low, high, outside, 0, given, per_sample, mean_loss, *found)


def _class_loss(log_probabilities: torch.Tensor, target: torch.Tensor, counting: torch.Tensor) -> float | None:
    """-E log p of the labels that count; classes are dimension 1, or the only one."""
    dim = 0 if log_probabilities.ndim == 1 else 1
    index = torch.where(counting, target, 0).unsqueeze(dim)
    chosen = log_probabilities.detach().gather(dim, index).squeeze(dim)
    return _if_finite(-float(chosen[counting].float().mean()))


def _probability_loss(name: str, scores: torch.Tensor, target: torch.Tensor) -> float | None:
    scores, target = scores.detach().float(), target.detach().float()
    if name == "binary_cross_entropy":
        certain, excluded = scores.log().clamp(min=-100), (1 - scores).log().clamp(min=-100)
        return _if_finite(-float((target * certain + (1 - target) * excluded).mean()))
    return _if_finite(float(F.binary_cross_entropy_with_logits(scores, target)))


def _if_finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _agreement(
    log_probabilities: torch.Tensor, target: torch.Tensor, kept: torch.Tensor
) -> tuple[float, float, float | None] | tuple[()]:
    """Shares of the commonest label and of the commonest prediction, and the alignment of the gradients.

    Taken over so many places, evenly spread, that they hold at most `MOST_SCORES` scores.
    """
    if log_probabilities.ndim < 2:
        return ()
    scores, target = _some_places(log_probabilities.detach(), target, kept)
    if not len(target):
        return ()
    probabilities, classes = scores.exp(), scores.shape[1]
    labels = torch.bincount(target, minlength=classes).float()
    predictions = torch.bincount(scores.argmax(1), minlength=classes)
    shares = float(labels.max()) / len(target), float(predictions.max()) / len(target)
    if not bool(((probabilities.sum(1) - 1).abs() < UNIT_SUM).all()):
        return (*shares, None)
    pull = (probabilities.sum(0) - labels).abs().sum()
    # Σ_c |p_c - y_c| = 2 (1 - p_y), since the others add up to what the label's own lacks.
    everything = 2 * (1 - probabilities.gather(1, target[:, None])).sum()
    return (*shares, min(1.0, float(pull / everything)) if everything > 0 else None)


def _some_places(scores: torch.Tensor, target: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores (places x classes) and targets of those places that count, at most `MOST_SCORES` of the former."""
    step = max(1, -(-scores.numel() // MOST_SCORES))
    if scores.ndim > 2:
        # Positions first: only what is kept is laid out anew.
        scores = scores.flatten(2)[..., ::step].movedim(1, -1).flatten(0, 1)
        target, kept = target.flatten(1)[..., ::step].flatten(), kept.flatten(1)[..., ::step].flatten()
        step = max(1, -(-scores.numel() // MOST_SCORES))
    scores, target, kept = scores[::step], target[::step], kept[::step]
    return scores[kept].float(), target[kept]


def _extremes(tensor: torch.Tensor) -> tuple[float | None, float | None]:
    if tensor.numel() == 0:
        return None, None
    low, high = torch.aminmax(tensor.detach())
    return float(low), float(high)


SQUARE = 2  # dimensions


def crossing_record(name: str, args: tuple[Any, ...], provenance: Provenance) -> CrossingRecord | None:
    """Of an operation that compares what the model computed with what it did not, if it sets one against many.

    One target against many predictions, as of quantiles, is none; both ways at once is each against all others.
    """
    if name not in _PAIRINGS or len(args) < 2 or not all(isinstance(arg, torch.Tensor) for arg in args[:2]):
        return None
    left, right = _own_shape(args[0]), _own_shape(args[1])
    rank = max(len(left), len(right))
    left, right = (1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right
    if left == right:
        return None
    computed = [bool(provenance.of(arg).layers) for arg in args[:2]]
    if computed[0] == computed[1]:
        return None
    prediction, target = (left, right) if computed[0] else (right, left)
    # A single number is a mean or a sum, and set against all targets by intent.
    spread = any(ours == 1 < theirs for ours, theirs in zip(prediction, target, strict=True)) and max(prediction) > 1
    # As many rows as there are samples, and as many columns: sums of a column and a row have been broadcast.
    squared = len(prediction) == SQUARE and 1 < prediction[0] == prediction[1] == math.prod(target)
    if not spread and not squared:
        return None
    return CrossingRecord(name, prediction, target, tuple(map(max, prediction, target)))


def _own_shape(tensor: torch.Tensor) -> tuple[int, ...]:
    """The shape from before it was expanded: an expanded dimension has a stride of zero."""
    if tensor.layout is not torch.strided:
        return tuple(tensor.shape)
    return tuple(1 if stride == 0 else size for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
