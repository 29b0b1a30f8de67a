"""One short training run: a subject of its own, trained on cached batches in a seeded order."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import torch

from gainstage.errors import GainstageError, SubjectError
from gainstage.seeding import generator, preserved_rng
from gainstage.trace.call import choose_loss, scalar_loss, to_device, unpack
from gainstage.trace.subject import Loss, Subject

Curve = tuple[float, ...]
Advance = Callable[[int], None]
BATCHES = 64


def trained(
    subject: Subject,
    steps: int,
    seed: int,
    advance: Advance,
    score: Loss | None = None,
    *,
    above: float = math.inf,
    rate: Callable[[int], float] | None = None,
    failed: Callable[[SubjectError], None] | None = None,
) -> Curve:
    """Losses of a run, one a step, up to the first that is not finite, or above a limit.

    All generators are seeded with ``seed`` inside, the batches' order with a generator of its own: two runs of one
    seed see the same batches and draw the same random numbers. Every batch is used once before one is used again.

    Args:
        subject: A copy that may be trained; without an optimizer, Adam at 1e-3 is taken.
        steps: Optimizer steps.
        seed: Of the run.
        advance: Is told how many steps were done.
        score: The loss to show; training follows the subject's own. None: that one is shown.
        above: The run ends when a loss exceeds it, with that loss.
        rate: Learning rate of each step, from 0; groups keep their ratios to the largest. None: the optimizer's own.
        failed: Is told of an exception after the first step, as where a distribution refuses its parameters; the run
            then ends with an infinite loss. None: it is raised.

    Raises:
        SubjectError: if a step fails, or there is no loss or no parameter to train on.
    """
    losses: list[float] = []
    done = 0
    try:
        with preserved_rng(seed), torch.enable_grad(), _explained(losses):
            batches, order, queue = subject.batches.take(BATCHES), generator(seed, "batches"), list[int]()
            optimizer = _optimizer(subject)
            ratios = rate_ratios(optimizer)
            while done < steps:
                queue = queue or torch.randperm(len(batches), generator=order).tolist()
                if rate is not None:
                    set_rate_(optimizer, rate(done), ratios)
                optimizer.zero_grad(set_to_none=True)
                loss, shown = _losses(subject, batches[queue.pop()], score)
                losses.append(shown)
                if not (math.isfinite(shown) and math.isfinite(float(loss.detach()))):
                    # A run that broke down must not end on the finite figure of another loss.
                    losses[-1] = shown if not math.isfinite(shown) else math.nan
                    break
                if shown > above:
                    break
                loss.backward()
                optimizer.step()
                done += 1
                advance(1)
    except SubjectError as error:
        if failed is None or not done:
            raise
        failed(error)
        losses[done:] = [math.inf]
    if done < steps:
        advance(steps - done)
    return tuple(losses)


def mean_loss(subject: Subject, batches: Sequence[Any], seed: int) -> float:
    """The mean of the subject's loss over these batches, in the mode that its model is in, without a step.

    Raises:
        SubjectError: if the model or the loss does not run so.
    """
    losses: list[float] = []
    # A loss may differentiate by itself, as a gradient penalty does.
    with preserved_rng(seed), torch.enable_grad(), _explained(losses):
        for batch in batches:
            losses.append(_losses(subject, batch, None)[1])
    return fmean(losses)


def _optimizer(subject: Subject) -> torch.optim.Optimizer:
    if isinstance(subject.optimizer, torch.optim.LBFGS):
        raise SubjectError(
            "trial: the optimizer must step without a closure, got LBFGS. Pass a subject with another, or with None."
        )
    if subject.optimizer is not None:
        return subject.optimizer
    parameters = [parameter for parameter in subject.model.parameters() if parameter.requires_grad]
    if not parameters:
        raise SubjectError("trial: the model must have trainable parameters, got none. Unfreeze some.")
    return torch.optim.Adam(parameters, lr=1e-3)


def rate_ratios(optimizer: torch.optim.Optimizer) -> tuple[float, ...]:
    """Each group's learning rate as a part of the largest.

    Where all are zero, as before a warm-up, the rates that a scheduler warms up to are taken, or equal ones.
    """
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    if not any(rates):
        rates = [float(group.get("initial_lr", 0)) for group in optimizer.param_groups]
    largest = max(rates)
    return tuple(rate / largest if largest > 0 else 1.0 for rate in rates)


def set_rate_(optimizer: torch.optim.Optimizer, rate: float, ratios: tuple[float, ...]) -> None:
    """Sets the largest learning rate, and the other groups' by their ratios to it, in place."""
    for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate * ratio)
        else:
            group["lr"] = rate * ratio


def _losses(subject: Subject, batch: Any, score: Loss | None) -> tuple[torch.Tensor, float]:
    """The loss to train on, and the one to show."""
    # A model that writes to its input writes to a copy: the next run must see the same batch.
    batch = to_device(copy.deepcopy(batch), subject.model)
    if subject.forward is not None:
        loss = scalar_loss(subject.forward(subject.model, batch), "forward")
        return loss, float(loss.detach())
    unpacked = unpack(batch)
    outputs = subject.model(*unpacked.args, **unpacked.kwargs)
    name, _, compute = choose_loss(subject, outputs, unpacked.targets)
    if name == "surrogate":
        raise SubjectError("trial: the batches must hold targets, got inputs alone. Pass (inputs, targets), or loss=.")
    loss = scalar_loss(compute(), "loss")
    if score is None:
        return loss, float(loss.detach())
    with torch.no_grad():
        return loss, float(scalar_loss(score(outputs, unpacked.targets), "loss"))


@contextmanager
def _explained(losses: list[float]) -> Generator[None]:
    """Turns an exception of the user's model, loss or optimizer into one line."""
    try:
        yield
    except GainstageError:
        raise
    except Exception as error:
        detail = " ".join(str(error).split())
        raise SubjectError(
            f"trial: the subject must be trainable, got {type(error).__name__}: {detail} (step {len(losses)}). "
            "Check that it trains outside of gainstage."
        ) from error


@contextmanager
def gradients_kept(subject: Subject) -> Generator[None]:
    """Puts every gradient of the subject's parameters back: a loss that closes over the model reaches them."""
    kept = [(parameter, parameter.grad) for parameter in subject.model.parameters()]
    try:
        for parameter, _ in kept:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in kept:
            parameter.grad = gradient
