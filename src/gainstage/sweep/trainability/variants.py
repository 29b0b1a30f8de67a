"""The model with each normalization that is asked for."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from gainstage.errors import GainstageError, InputError, UnknownNameError
from gainstage.norm.surgery.inserting import NORMS as PUT_IN
from gainstage.norm.surgery.inserting import insert
from gainstage.norm.surgery.records import Surgery
from gainstage.norm.surgery.replacing import replace
from gainstage.norm.surgery.sites import KINDS, norm_sites
from gainstage.trace.copies import copied
from gainstage.trace.subject import Subject

AS_IS, NONE = "as-is", "none"
NORMS = (AS_IS, NONE, *PUT_IN)


def variant(subject: Subject, norm: str) -> tuple[Subject, str] | str:
    """The subject with one normalization, without an optimizer, and what is to be said of it; or why there is none.

    Args:
        subject: Left as it is.
        norm: ``as-is``; ``none``: every norm taken out; ``batch``, ``group`` or ``layer``: in place of the norms
            that there are, or in front of the activations of a model that has none.

    Raises:
        UnknownNameError: if there is no such normalization.
        SubjectError: if the model cannot be copied.
    """
    if norm not in NORMS:
        raise UnknownNameError("map", "norm", norm, NORMS)
    if norm == AS_IS:
        return copied(subject.replace(optimizer=None)), ""
    has_norms = bool(norm_sites(subject.model))
    if norm == NONE and not has_norms:
        return "the model has no norm"
    try:
        done = _operated(subject, norm, has_norms=has_norms)
    except GainstageError as error:
        return str(error)
    if not done.changed:
        reasons = dict.fromkeys(left.reason for left in done.left)
        return next(iter(reasons), "the model has no other norm, or no layer that it could stand behind")
    if all(_is_same(change.what) for change in done.changed):
        return "the model has it already"
    left = f"{norm}: {len(done.changed)} norms, {len(done.left)} places left" if done.left else ""
    return subject.replace(model=done.model, optimizer=None), left


def _operated(subject: Subject, norm: str, *, has_norms: bool) -> Surgery:
    if has_norms:
        by = None if norm == NONE else norm
        return replace(subject.model, KINDS, by, batch=subject.batches.first())
    return insert(subject.model, subject.batches.first(), norm)


def _is_same(change: str) -> bool:
    old, _, new = change.partition(" -> ")
    return old == new.partition("(")[0]


@torch.no_grad()
def scale_weights_(model: nn.Module, scale: float) -> None:
    """Multiplies every parameter of two dimensions and more, in place."""
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            parameter.mul_(scale)


def optimizer_like(given: torch.optim.Optimizer | None, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """A new optimizer of the same type over the model's trainable parameters, in one group; Adam without one.

    Args:
        given: Its first group's options are taken, but for the learning rate.
        model: Whose parameters are to be trained.
        lr: The learning rate.

    Raises:
        InputError: if the optimizer cannot be built so, or there is nothing to train.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise InputError("map: the model must have trainable parameters, got none. Unfreeze some.")
    if given is None:
        return torch.optim.Adam(parameters, lr=lr)
    make: Any = type(given)
    try:
        return make(parameters, **options_like(given), lr=lr)
    except Exception as error:
        raise InputError(
            f"map: the optimizer must be built from parameters and its options, got {type(error).__name__}: {error}. "
            "Pass a subject without one; Adam is taken then."
        ) from error


def options_like(given: torch.optim.Optimizer) -> dict[str, Any]:
    """The options of an optimizer's first group that its type accepts, but for the learning rate."""
    accepted = inspect.signature(type(given)).parameters.keys() - {"params", "lr"}
    return {key: value for key, value in given.param_groups[0].items() if key in accepted}
