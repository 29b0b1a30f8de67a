"""What a loss takes that is written by hand: it is asked for the loss of outputs that are made up."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gainstage.trace import call
from gainstage.trace.records import LossRecord
from gainstage.trace.subject import Subject
from gainstage.trace.target_records import AskedLoss

# Of these the operation itself says what it takes.
NAMED = frozenset((
    "log_softmax", "nll_loss", "nll_loss_nd", "mse_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "smooth_l1_loss", "huber_loss", "kl_div", "_ctc_loss", "poisson_nll_loss", "soft_margin_loss", "multi_margin_loss",
    "multilabel_margin_loss",
))  # fmt: skip
# Asking costs a dozen losses, which of more outputs than this would be no longer free.
MOST = 1_000_000
# A right answer's loss is this share of an undecided one's, or less: eps in a logarithm leaves some.
RIGHT = 0.01
# A sure and wrong answer costs more than so many undecided ones, by a logarithm; by squared errors it costs four.
SURE = 5.0
# Twice the distance costs from twice (absolute) to four times (squared) as much; with room for what is in between.
DISTANCES = (1.5, 4.5)
EVEN = 0.05
LOGIT = 40.0
TINY = 1e-6

# A loss that computes probabilities by itself may do so for its weights, as focal loss does, or by mistake.
_SQUASHING = ("sigmoid", "softmax", "_softmax")
_SQUASHING_LOSSES = frozenset(("log_softmax", "binary_cross_entropy_with_logits"))
# Of sure and wrong answers over an undecided one's: below 2 if squashed twice, and 20 or more if once; four times with
# a focal loss's weight.
REACH = 8.0

Said = Callable[[Tensor], float]


def asked_loss(subject: Subject, outputs: Any, loss: LossRecord | None) -> AskedLoss | None:
    """What the subject's loss takes, where no operation of it tells and its answers are clear.

    It costs a dozen evaluations of the loss on the first batch's targets, and no pass of the model.

    Args:
        subject: With a loss of its own; stays as it is.
        outputs: What the model returned for the first batch.
        loss: The record of that pass.
    """
    if loss is None or subject.loss is None or subject.forward is not None:
        return None
    named = NAMED.intersection(loss.ops)
    if named and not (loss.ops[0] in _SQUASHING and _SQUASHING_LOSSES.intersection(named)):
        return None
    targets = call.unpack(call.to_device(subject.batches.first(), subject.model)).targets
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor) or not outputs.is_floating_point():
        return None
    if not 0 < outputs.numel() <= MOST or outputs.ndim == 0:
        return None
    try:
        ask = copy.deepcopy(subject.loss) if isinstance(subject.loss, torch.nn.Module) else subject.loss
        answers = _of_squashed if named else _answers
        return answers(ask, outputs.detach(), targets.detach())
    except Exception:  # It may take no other outputs or targets than its own.
        return None


def _answers(ask: Callable[[Any, Any], Any], outputs: Tensor, targets: Tensor) -> AskedLoss | None:
    if targets.numel() != outputs.numel():
        ones = _one_hot(outputs, targets)
        return None if ones is None else _odds(_saying(ask, targets), ones, 0.0)
    paired = targets.reshape(outputs.shape).to(outputs.dtype)
    if _is_distance(_saying(ask, targets), paired):
        return AskedLoss("values")
    low, high = float(paired.min()), float(paired.max())
    if low == high:
        return None
    ones = (paired > (low + high) / 2).to(outputs.dtype)
    asked_for = ones.reshape(targets.shape).to(targets.dtype)
    whole = bool((paired == paired.round()).all())
    beyond = max(0.0, -low, high - 1.0)
    # What lies between 0 and 1 is as good a probability as any; what lies beyond, and is no number of a class, is none.
    return _odds(_saying(ask, asked_for), ones, beyond) if whole or not beyond else None


def _of_squashed(ask: Callable[[Any, Any], Any], outputs: Tensor, targets: Tensor) -> AskedLoss | None:
    """Whether a loss with a sigmoid or softmax of its own before the one of its operation squashes twice."""
    if targets.numel() == outputs.numel():
        ones = targets.reshape(outputs.shape).to(outputs.dtype)
        if not bool(((ones == 0) | (ones == 1)).all()):
            return None
    else:
        found = _one_hot(outputs, targets)
        if found is None:
            return None
        ones = found
    said, signs = _saying(ask, targets), 2 * ones - 1
    right, undecided, wrong = said(LOGIT * signs), said(torch.zeros_like(ones)), said(-LOGIT * signs)
    return AskedLoss("nothing") if 0 <= right < undecided < wrong < REACH * undecided else None


def _saying(ask: Callable[[Any, Any], Any], targets: Tensor) -> Said:
    def said(outputs: Tensor) -> float:
        with torch.no_grad():
            return float(call.scalar_loss(ask(outputs.clone(), targets.clone()), "loss"))

    return said


def _one_hot(outputs: Tensor, targets: Tensor) -> Tensor | None:
    """Of class labels, a one for each in the dimension of the classes."""
    if call.classes_last(outputs, targets):
        classes, last = outputs.shape[-1], True
    elif call.class_targets(outputs, targets) and outputs.shape[:1] + outputs.shape[2:] == targets.shape:
        classes, last = outputs.shape[1], False
    else:
        return None
    if int(targets.min()) < 0 or int(targets.max()) >= classes:
        return None
    ones = F.one_hot(targets.long(), classes).to(outputs.dtype)
    return ones if last else ones.movedim(-1, 1)


def _is_distance(said: Said, targets: Tensor) -> bool:
    """Whether the loss is zero at the targets and grows to both sides alike, as a distance or its square."""
    unit = float(targets.std()) if targets.numel() > 1 else 0.0
    unit = unit if math.isfinite(unit) and unit > 0 else 1.0
    zero, near, far, other = (said(targets + shift * unit) for shift in (0.0, 1.0, 2.0, -2.0))
    if not all(math.isfinite(loss) for loss in (zero, near, far, other)) or near <= 0:
        return False
    return (
        abs(zero) <= RIGHT * near
        and DISTANCES[0] <= far / near <= DISTANCES[1]
        and math.isclose(far, other, rel_tol=EVEN)
    )


def _odds(said: Said, ones: Tensor, beyond: float) -> AskedLoss | None:
    """Which form of probabilities the loss takes; None if it is none of them."""
    signs = 2 * ones - 1
    half = torch.full_like(ones, 0.5)
    even, plain = said(half), said(ones)
    if even > 0 and abs(plain) <= RIGHT * even and _costly(said(1 - ones), even):
        mixed = 0.1 + 0.8 * torch.rand(ones.shape, generator=torch.Generator().manual_seed(0)).to(ones)
        normalizes = math.isclose(said(mixed), said(0.5 * mixed), rel_tol=TINY)
        return AskedLoss("probabilities", _costly(said(torch.ones_like(ones)), even), normalizes, beyond)
    undecided, right = said(torch.zeros_like(ones)), said(LOGIT * signs)
    if undecided > 0 and abs(right) <= RIGHT * undecided < abs(plain) and _costly(said(-LOGIT * signs), undecided):
        shifted = math.isclose(said(signs + 1), said(signs), rel_tol=1e-4)
        return AskedLoss("logits", not shifted, beyond=beyond if not shifted else 0.0)
    logs = torch.log(ones.clamp(min=TINY))
    if said(torch.log(half)) > 0 > said(torch.ones_like(ones)) and abs(said(logs)) <= RIGHT * said(torch.log(half)):
        return AskedLoss("log-probabilities", each=False)
    return None


def _costly(loss: float, even: float) -> bool:
    return not math.isfinite(loss) or loss > SURE * even
