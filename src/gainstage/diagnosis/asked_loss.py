"""What a loss takes and prefers: it is asked for the loss of outputs that are made up."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import _pytree as pytree

from gainstage.diagnosis.passes import copied_loss
from gainstage.trace import call
from gainstage.trace.records import LossRecord, Trace
from gainstage.trace.subject import Subject
from gainstage.trace.target_records import AskedLoss

# Asking costs some twenty losses, which of more outputs than this would be no longer free.
MOST = 1_000_000
# A right answer's loss is this share of an undecided one's, or less: eps in a logarithm leaves some.
RIGHT = 0.01
# A sure and wrong answer costs more than so many undecided ones, by a logarithm; by squared errors it costs four.
SURE = 5.0
# Twice the distance costs from twice (absolute) to four times (squared) as much; with room for what is in between.
DISTANCES = (1.5, 4.5)
EVEN = 0.05
LOGIT, MODEST, SATURATED = 40.0, 3.0, 200.0
TINY = 1e-6
# A loss that computes probabilities by itself may do so for its weights, as focal loss does, or by mistake.
_SQUASHING = ("sigmoid", "softmax", "_softmax")
_SQUASHING_LOSSES = frozenset(("log_softmax", "binary_cross_entropy_with_logits"))
# Of sure and wrong answers over an undecided one's: below 2 if squashed twice, and 20 or more if once; four times with
# a focal loss's weight.
REACH = 8.0

# Of outputs that a loss is asked for to see whether it reads them: a hinge's loss is zero for some, not for all.
SCALES = (0.1, 1.0, 10.0, 100.0)

Said = Callable[[Tensor], float]
Asked = Callable[[Any, Any], Any]


def asked_loss(subject: Subject, outputs: Any, loss: LossRecord | None) -> LossRecord | None:
    """The record of the subject's loss with what its answers showed; as it is where they are not clear.

    It costs some twenty evaluations of the loss on the first batch's targets, and no pass of the model.

    Args:
        subject: With a loss of its own; stays as it is.
        outputs: What the model returned for the first batch.
        loss: The record of that pass.
    """
    if loss is None or subject.loss is None or subject.forward is not None:
        return loss
    targets = call.unpack(call.to_device(subject.batches.first(), subject.model)).targets
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor) or not outputs.is_floating_point():
        return loss
    if not 0 < outputs.numel() <= MOST or outputs.ndim == 0:
        return loss
    try:
        ask = copied_loss(subject.loss)
    except Exception:  # It may keep what cannot be copied, as tensors with a history.
        return loss
    outputs, targets = outputs.detach(), targets.detach()
    for found in (_takes, _prefers, _breaks):
        try:
            # What a loss warns of here is no matter of the outputs that it was made for.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loss = found(ask, outputs, targets, loss)
        except Exception:  # It may take no other outputs or targets than its own.
            continue
    return loss


def indifferent(subject: Subject, returned: Any, trace: Trace) -> bool:
    """Whether the loss of the first batch is the same whatever the outputs are.

    It is asked only where no parameter has a gradient other than zero, for `SCALES` outputs that are drawn.

    Args:
        subject: With a loss of its own; stays as it is.
        returned: What the model returned for the first batch.
        trace: Of that pass.
    """
    if trace.loss_record is None or subject.loss is None or subject.forward is not None or not trace.backward:
        return False
    if any(parameter.grad_max_abs for parameter in trace.parameters) or trace.first_non_finite is not None:
        return False
    targets = call.unpack(call.to_device(subject.batches.first(), subject.model)).targets
    generator = torch.Generator().manual_seed(0)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            ask = copied_loss(subject.loss)
            answers = [
                float(call.scalar_loss(ask(_drawn(returned, scale, generator), targets), "loss")) for scale in SCALES
            ]
    except Exception:  # It may take no other outputs than its own.
        return False
    return all(math.isclose(answer, trace.loss, rel_tol=TINY, abs_tol=TINY) for answer in answers)


def _drawn(returned: Any, scale: float, generator: torch.Generator) -> Any:
    """Outputs of the same shapes, drawn: between 0 and 1 where they are, else normal ones."""

    def draw(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        unit = torch.rand(tensor.shape, generator=generator)
        drawn = unit if _squashed(tensor) else scale * torch.randn(tensor.shape, generator=generator)
        return drawn.to(tensor)

    return pytree.tree_map_only(torch.Tensor, draw, returned)


def _takes(ask: Asked, outputs: Tensor, targets: Tensor, loss: LossRecord) -> LossRecord:
    named = {part.op for part in loss.parts}  # of these the operation itself says what it takes
    if not named:
        return replace(loss, asked=_answers(ask, outputs, targets))
    # Of two terms one may take the sigmoid's and the other the outputs themselves.
    twice = any(part.op in _SQUASHING_LOSSES and set(_SQUASHING).intersection(part.via) for part in loss.parts)
    if loss.ops[0] in _SQUASHING and twice:
        return replace(loss, asked=_of_squashed(ask, outputs, targets))
    return loss


def _answers(ask: Asked, outputs: Tensor, targets: Tensor) -> AskedLoss | None:
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
    beyond = max(0.0, -low, high - 1.0)
    # What lies between 0 and 1 is as good a probability as any; what lies beyond is none.
    return _odds(_saying(ask, asked_for), ones, beyond)


def _of_squashed(ask: Asked, outputs: Tensor, targets: Tensor) -> AskedLoss | None:
    """Whether a loss with a sigmoid or softmax of its own before the one of its operation squashes twice."""
    ones = _ones(outputs, targets)
    if ones is None:
        return None
    said, signs = _saying(ask, targets), 2 * ones - 1
    right, undecided, wrong = said(LOGIT * signs), said(torch.zeros_like(ones)), said(-LOGIT * signs)
    return AskedLoss("nothing") if 0 <= right < undecided < wrong < REACH * undecided else None


def _prefers(ask: Asked, outputs: Tensor, targets: Tensor, loss: LossRecord) -> LossRecord:
    """Whether the loss is lower for wrong answers than for right ones, in every form that an answer may have."""
    said, ones = _saying(ask, targets), _ones(outputs, targets)
    if ones is not None and 0 < float(ones.mean()) < 1:
        signs = 2 * ones - 1
        forms = [(ones, 1 - ones), (0.8 * ones + 0.1, 0.9 - 0.8 * ones)]
        if not _squashed(outputs):
            forms.append((MODEST * signs, -MODEST * signs))
        costs = [(said(right), said(wrong)) for right, wrong in forms]
        whole = [(right, wrong) for right, wrong in costs if math.isfinite(right) and math.isfinite(wrong)]
        # Of a critic the sign is a convention: what it says of wrong answers is minus what it says of right ones.
        linear = any(math.isclose(right, -wrong, rel_tol=EVEN) for right, wrong in whole)
        contrary = len(whole) > 1 and not linear and all(right > wrong for right, wrong in whole)
        return replace(loss, contrary=contrary)
    if ones is None and targets.is_floating_point() and targets.numel() == outputs.numel():
        paired = targets.reshape(outputs.shape).to(outputs.dtype)
        unit = float(paired.std()) if paired.numel() > 1 else 0.0
        if unit > 0:
            at, beside = said(paired), (said(paired + unit), said(paired - unit))
            return replace(loss, contrary=math.isfinite(at) and all(math.isfinite(b) and b < at for b in beside))
    return loss


def _breaks(ask: Asked, outputs: Tensor, targets: Tensor, loss: LossRecord) -> LossRecord:
    """Whether sure answers, such as a sigmoid or softmax comes to by rounding, have a loss or slope that is no number.

    Losses of one operation alone take care of that.
    """
    ones = _ones(outputs, targets)
    if ones is None or {part.op for part in loss.parts}.issuperset(loss.ops):
        return loss
    signs = 2 * ones - 1
    sure = (ones, 1 - ones) if _squashed(outputs) else (SATURATED * signs, -SATURATED * signs)
    return replace(loss, singular=not all(_whole(ask, answer.to(outputs.dtype), targets) for answer in sure))


def _squashed(outputs: Tensor) -> bool:
    return bool((outputs >= 0).all() and (outputs <= 1).all())


def _whole(ask: Asked, outputs: Tensor, targets: Tensor) -> bool:
    """Whether the loss of these outputs and its gradient there are finite."""
    with torch.enable_grad():
        outputs = outputs.clone().requires_grad_(True)
        loss = call.scalar_loss(ask(outputs, targets.clone()), "loss")
        (gradient,) = torch.autograd.grad(loss, outputs)
    return math.isfinite(float(loss.detach())) and bool(gradient.isfinite().all())


def _saying(ask: Asked, targets: Tensor) -> Said:
    def said(outputs: Tensor) -> float:
        with torch.no_grad():
            return float(call.scalar_loss(ask(outputs.clone(), targets.clone()), "loss"))

    return said


def _ones(outputs: Tensor, targets: Tensor) -> Tensor | None:
    """The right answer as ones among zeros: of targets that are such, or of class labels."""
    if targets.numel() != outputs.numel():
        # Masks often keep a channel of their own.
        masks = targets.ndim == outputs.ndim > 2 and targets.shape[1] == 1 and bool((targets == targets.round()).all())
        return _one_hot(outputs, targets.squeeze(1).long() if masks else targets)
    ones = targets.reshape(outputs.shape).to(outputs.dtype)
    return ones if bool(((ones == 0) | (ones == 1)).all()) else None


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
    even, plain, wrong = said(half), said(ones), said(1 - ones)
    mixed = 0.1 + 0.8 * torch.rand(ones.shape, generator=torch.Generator().manual_seed(0)).to(ones)
    if even > 0 and abs(plain) <= RIGHT * even and _costly(wrong, even):
        normalizes = math.isclose(said(mixed), said(0.5 * mixed), rel_tol=TINY)
        # A one too many costs nothing where the right class alone is read; of how many there are it is no matter.
        several = ones.clone().flatten()
        several[int(several.argmin())] = 1
        extra = said(several.reshape(ones.shape)) - plain
        return AskedLoss("probabilities", not normalizes and not abs(extra) <= TINY * even, normalizes, beyond)
    undecided, right = said(torch.zeros_like(ones)), said(LOGIT * signs)
    if undecided > 0 and abs(right) <= RIGHT * undecided < abs(plain) and _costly(said(-LOGIT * signs), undecided):
        shifted = math.isclose(said(signs + 1), said(signs), rel_tol=1e-4)
        return AskedLoss("logits", not shifted, beyond=beyond if not shifted else 0.0)
    logs = torch.log(ones.clamp(min=TINY))
    # Of one output alone a linear loss is a critic's.
    if (
        _several_each(ones)
        and said(torch.log(half)) > 0 > said(torch.ones_like(ones))
        and abs(said(logs)) <= RIGHT * said(torch.log(half))
    ):
        return AskedLoss("log-probabilities", each=False)
    # Dice and its kin are 0 or -1 at the targets, and lower still where shares are beyond ones and zeros.
    best = min(abs(plain), abs(plain + 1)) <= RIGHT
    beaten = min(said(3 * ones), said(signs)) < plain - RIGHT
    if best and beaten and plain + RIGHT < even < wrong and said(ones.roll(1, 0)) > plain + RIGHT and not beyond:
        return AskedLoss("shares")
    return None


def _several_each(ones: Tensor) -> bool:
    """Whether each sample has several outputs, of which one is right."""
    return any(size > 1 and bool((ones.sum(axis) == 1).all()) for axis, size in enumerate(ones.shape) if axis)


def _costly(loss: float, even: float) -> bool:
    return not math.isfinite(loss) or loss > SURE * even
