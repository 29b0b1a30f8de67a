"""What a code costs against what it can earn: losses of variational autoencoders are asked for made-up codes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from gainstage.diagnosis.passes import copied_loss
from gainstage.trace import call
from gainstage.trace.records import LossRecord
from gainstage.trace.subject import Subject
from gainstage.trace.target_records import PriorRecord

# Asking costs a dozen losses, which of more outputs than this would be no longer free.
MOST = 1_000_000
# A code of two values: means of ± 1.5, log-variances of -1.5. What of it is KL divergence is the same for every loss.
MEAN, LOG_VARIANCE = 1.5, -1.5
NATS = 0.5 * (MEAN**2 + math.exp(LOG_VARIANCE) - 1 - LOG_VARIANCE)
EVEN = 0.05
EDGE = 1e-4  # of a probability, where its logit is taken


def asked_prior(subject: Subject, outputs: Any, loss: LossRecord | None) -> LossRecord | None:
    """The record of the subject's loss with the price of a code, where the outputs are a reconstruction and a code.

    A code is two outputs of one shape whose divergence from a normal prior the loss has, whatever the reconstruction
    is: means and logarithms of variances, or of standard deviations. It costs a dozen losses for each pair of outputs
    that may be one, and no pass of the model.

    Args:
        subject: With a loss of its own; stays as it is.
        outputs: What the model returned for the first batch.
        loss: The record of that pass.
    """
    if loss is None or subject.loss is None or subject.forward is not None or type(outputs) not in (tuple, list):
        return loss
    targets = call.unpack(call.to_device(subject.batches.first(), subject.model)).targets
    if not isinstance(targets, Tensor) or not targets.is_floating_point() or targets.numel() > MOST:
        return loss
    try:
        # What a loss warns of here is no matter of the outputs that it was made for.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ask = copied_loss(subject.loss)
            found = (
                _asked(_Asking(ask, outputs, targets.detach(), image, code)) for image, code in _parts(outputs, targets)
            )
            prior = next((prior for prior in found if prior is not None), None)
    except Exception:  # It may take no other outputs than its own.
        return loss
    return loss if prior is None else replace(loss, prior=prior)


def _parts(outputs: Sequence[Any], targets: Tensor) -> Iterator[tuple[int, tuple[int, int]]]:
    """Where the reconstruction may stand, and means and logarithms of variances."""
    numbers = [i for i, entry in enumerate(outputs) if isinstance(entry, Tensor) and entry.is_floating_point()]
    image = next((i for i in numbers if outputs[i].numel() == targets.numel()), None)
    if image is None:
        return
    codes = [i for i in numbers if i != image and outputs[i].ndim > 1]
    yield from ((image, (i, j)) for i, j in permutations(codes, 2) if outputs[i].shape == outputs[j].shape)


class _Asking:
    """The loss of a reconstruction and a code in the model's own form of outputs."""

    def __init__(self, ask: Any, outputs: Sequence[Any], targets: Tensor, image: int, code: tuple[int, int]) -> None:
        self.ask, self.targets, self.listed = ask, targets, isinstance(outputs, list)
        self.outputs = [entry.detach() if isinstance(entry, Tensor) else entry for entry in outputs]
        self.image, self.code = image, code

    def said(self, image: Tensor, mean: Tensor, log_variance: Tensor) -> float:
        entries = list(self.outputs)
        entries[self.image] = image.reshape(entries[self.image].shape).to(entries[self.image].dtype)
        entries[self.code[0]], entries[self.code[1]] = mean, log_variance
        with torch.no_grad():
            made = [entry.clone() if isinstance(entry, Tensor) else entry for entry in entries]
            loss = self.ask(made if self.listed else tuple(made), self.targets.clone())
            return float(call.scalar_loss(loss, "loss"))


def _asked(asking: _Asking) -> PriorRecord | None:
    targets = asking.targets
    code = asking.outputs[asking.code[0]]
    zero = code.new_zeros(code.shape)  # laid out in a row, whatever the model's own is
    one = torch.ones_like(zero)
    constant = targets.mean(0, keepdim=True).expand_as(targets)
    right, best = _least(asking, targets, zero)
    _, ignorant = _least(asking, constant, zero)
    means = [asking.said(right, shift * one, zero) - best for shift in (1, -1, 2)]
    widths = [asking.said(right, zero, shift * one) - best for shift in (1, -1)]
    per_logarithm = _logarithm(means, widths)
    if per_logarithm is None:
        return None
    mean, log_variance = zero.clone(), zero.clone()
    mean.flatten(1)[::2, 0], mean.flatten(1)[1::2, 0] = MEAN, -MEAN
    log_variance.flatten(1)[:, 0] = LOG_VARIANCE / per_logarithm
    price = asking.said(right, mean, log_variance) - best
    again = asking.said(constant, mean, log_variance) - asking.said(constant, zero, zero)
    if not math.isclose(price, again, rel_tol=EVEN) or price <= 0 or not ignorant > best:
        return None
    return PriorRecord(price / NATS, ignorant - best)


def _least(asking: _Asking, image: Tensor, zero: Tensor) -> tuple[Tensor, float]:
    """The form of the image that has the least loss, as it is or as logits, and that loss."""
    within = bool(((image >= 0) & (image <= 1)).all())
    edge = max(EDGE, torch.finfo(image.dtype).eps)
    least = image, math.inf
    for form in (image, torch.logit(image.clamp(edge, 1 - edge))) if within else (image,):
        try:
            loss = asking.said(form, zero, zero)
        except (RuntimeError, ValueError):  # Losses of probabilities refuse logits.
            continue
        least = (form, loss) if loss < least[1] else least
    return least


def _logarithm(means: Sequence[float], widths: Sequence[float]) -> int | None:
    """1 if the loss takes its second code for logarithms of variances, 2 if of standard deviations; None if neither.

    A normal distribution's divergence from the standard one is (m² + v - 1 - log v) / 2.

    Args:
        means: What means of 1, -1 and 2 cost.
        widths: What logarithms of 1 and -1 cost.
    """
    one = means[0]
    if one <= 0 or not math.isclose(means[1], one, rel_tol=EVEN) or not math.isclose(means[2], 4 * one, rel_tol=EVEN):
        return None
    for power in (1, 2):
        expected = (math.exp(power) - 1 - power, math.exp(-power) - 1 + power)
        if all(math.isclose(width, one * cost, rel_tol=EVEN) for width, cost in zip(widths, expected, strict=True)):
            return power
    return None
