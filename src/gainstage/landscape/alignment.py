"""Whether the samples of a batch pull the network's outputs the same way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from gainstage.errors import SubjectError
from gainstage.landscape.objective import Norms, Objective
from gainstage.trace.call import classes_last, prediction, unpack
from gainstage.trace.subject import as_subject


@dataclass(frozen=True)
class OutputAlignment:
    """Of the gradients d_b = ∂L/∂z_b at the outputs z_b of the samples b.

    Attributes:
        mean_cosine: Of cos(d_b, d_b') over all pairs: 1 if all pull the same way, 0 if they are unrelated.
        min_cosine: Over all pairs: below 0 if some samples are at odds, the gradient's confusion.
        sign_alignment: Σ_c |Σ_b d_bc| / Σ_bc |d_bc|: 1 if no two samples cancel in any output.
        top_class_share: Share of samples (of positions, in sequences and images) whose largest output is the most
            common one; None below two outputs.
        samples: How many have a gradient that is neither zero nor non-finite; the cosines are of these.
        note: Why a figure is None; empty else.
    """

    mean_cosine: float | None
    min_cosine: float | None
    sign_alignment: float | None
    top_class_share: float | None
    samples: int
    note: str = ""


def output_alignment(
    subject_or_model: Any, batches: Any = None, loss: Any = None, *, norms: Norms = "as is", seed: int = 0
) -> OutputAlignment:
    """Returns how alike the loss's gradients at the outputs of a batch's samples are.

    A sample's d_b is defined in any mode, also behind a batch norm: it is the derivative with respect to this sample's
    outputs, with the outputs of all samples as the forward pass of the whole batch made them.

    Args:
        subject_or_model, batches, loss: As in `gainstage.check`; the first batch is used.
        norms: As in `Objective`.
        seed: Of the random numbers (dropout).

    Returns:
        The figures. Costs one forward and backward pass, and memory for samples².

    Raises:
        SubjectError: if outputs and loss cannot be had apart (``forward=``, or a model that computes its own loss), or
            the outputs have no dimension of samples.

    Validity:
        With cross-entropy the entries of d_b add up to zero, so that two samples of different classes have a cosine
        of -1/(C-1) at uniform predictions of C classes: 0 on average over balanced classes. Sorted batches are
        aligned whatever the network is.

    Example:
        >>> from torch import nn
        >>> batch = (torch.eye(2), torch.tensor([[-1.0], [-2.0]]))
        >>> found = output_alignment(nn.Linear(2, 1), batch, lambda y, t: (y * t).sum())
        >>> found.mean_cosine, found.sign_alignment
        (1.0, 1.0)

    References:
        Bjorck et al. 2018, Understanding batch normalization, Fig. 6; Sankararaman et al. 2020, The impact of neural
        network overparameterization on gradient confusion.
    """
    objective = Objective(as_subject(subject_or_model, batches, loss), norms=norms, seed=seed)
    outputs, loss_of = objective.outputs(objective.batches[0])
    z = prediction(outputs)
    if z is None or z.ndim < 1 or not z.requires_grad:
        raise SubjectError(
            "output_alignment: the outputs must hold a tensor with a dimension of samples and a history, got none. "
            "Check what the model returns."
        )
    try:
        with torch.enable_grad():
            (d,) = torch.autograd.grad(loss_of(outputs), [z], allow_unused=True, materialize_grads=True)
    except Exception:
        objective.gradient(objective.batches[0])  # says in one line what is wrong with the loss
        raise
    classes = z.detach()
    if classes_last(z, unpack(objective.batches[0]).targets):
        classes = classes.movedim(-1, 1)
    return _figures(d.reshape(len(z), math.prod(z.shape[1:])).double(), classes)


def _figures(d: torch.Tensor, outputs: torch.Tensor) -> OutputAlignment:
    norms = d.norm(dim=1)
    alive = torch.isfinite(norms) & (norms > 0)
    count = int(alive.sum())
    top = _top_share(outputs) if bool(outputs.isfinite().all()) else None
    if count < 2:
        why = "fewer than two samples have a gradient that is finite and not zero"
        return OutputAlignment(None, None, None, top, count, why)
    d = d[alive]
    units = d / norms[alive, None]
    cosines = units @ units.T
    pairs = ~torch.eye(count, dtype=torch.bool, device=cosines.device)
    signs = float(d.sum(0).abs().sum() / d.abs().sum())
    off = cosines[pairs].clamp(-1, 1)
    lost = len(norms) - count
    note = f"{lost} samples without a finite gradient other than zero are left out" if lost else ""
    return OutputAlignment(float(off.mean()), float(off.min()), signs, top, count, note)


def _top_share(outputs: torch.Tensor) -> float | None:
    """Classes stand in dimension 1, and every further position counts as a sample."""
    if outputs.ndim < 2 or outputs.shape[1] < 2 or not math.prod(outputs.shape):
        return None
    classes = outputs.argmax(dim=1).reshape(-1)
    return float(torch.bincount(classes).max()) / len(classes)
