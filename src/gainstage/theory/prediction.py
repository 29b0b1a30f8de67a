"""A whole network as a list of stages: the predicted level of signal and gradient behind each, with its band."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gainstage.errors import InputError
from gainstage.numerics import require_positive
from gainstage.theory.cotangents import Cotangent, pulled_back
from gainstage.theory.finite_width import Level, band
from gainstage.theory.scatter import Scatter, Transfer, joined, transfer_of
from gainstage.theory.signals import Signal, added, passed
from gainstage.theory.stages import Activate, Norm, Residual, Stage


@dataclass(frozen=True)
class StageLevels:
    """What is predicted behind one stage.

    Attributes:
        stage: The stage.
        signal: Moments of what leaves it, at infinite width.
        forward: rms of what leaves it.
        gradient: rms of the gradient of the loss with respect to what leaves it.
        branch: Of a `Residual`: the same for each stage of its branch.
    """

    stage: Stage
    signal: Signal
    forward: Level
    gradient: Level
    branch: tuple[StageLevels, ...] = ()


@dataclass(frozen=True)
class _Step:
    stage: Stage
    before: Signal
    after: Signal
    entering: Scatter
    leaving: Scatter
    branch: tuple[_Step, ...] = ()


def predict(
    stages: Sequence[Stage], inputs: Signal, *, output_grad_rms: float = 1.0, z_score: float = 3.0
) -> tuple[StageLevels, ...]:
    """Returns the predicted rms of signal and gradient behind each stage, with its band of finite width.

    Forwards by `signals.passed`, backwards by `cotangents.pulled_back`, the scatter by `scatter.transfer_of`.
    Through a residual block the gradient is multiplied by β² + α² χ, with χ that of its branch.

    Args:
        stages: In execution order.
        inputs: Moments of the network's input; ``cross`` matters to batch norms alone.
        output_grad_rms: rms of the gradient with respect to what leaves the last stage.
        z_score: Half the band's width in standard deviations; 3 takes in 99.7 %.

    Returns:
        One entry a stage. For a list of `Affine` and `Activate` the figures are those of `propagate` and
        `gradient_band`.

    Raises:
        InputError: if there is no stage, or one cannot take its signal: an activation behind anything but an
            affine map or a norm or sum of such, a norm of a constant, a branch of another width.

    Validity:
        Widths of about 30 and more; weights independent and centred; convolutions without what padding takes
        away. Dropout and batch norm in training mode. One sample's figures: the rms over a batch scatters
        less. Orthogonal weights have the same middle and a narrower band. Batch norm in front of an activation
        that is not piecewise linear: batches of about 16 and more. The scatter of the gradient on a residual stream
        comes out up to a fifth too small, as successive branches pass it through the same slopes.

    Example:
        >>> from gainstage.theory.registry import activation
        >>> from gainstage.theory.stages import Activate, Affine
        >>> block = Residual((Activate(activation("relu")), Affine(256, weight_var=2.0)), scale=0.5)
        >>> levels = predict([Affine(256, 1.0), *[block] * 4], Signal(64))
        >>> [round(level.forward.rms, 4) for level in levels]  # (1 + 0.5²)^(l/2)
        [1.0, 1.118, 1.25, 1.3975, 1.5625]

    References:
        Schoenholz et al. 2017; Yang and Schoenholz 2017, Mean field residual networks: on the edge of chaos;
        Yang et al. 2019, A mean field theory of batch normalization; Hanin 2018.
    """
    operation = "predict"
    rms = require_positive(operation, "output_grad_rms", output_grad_rms, "Give the gradient's rms at the output.")
    reach = require_positive(operation, "z_score", z_score, "Give standard deviations, such as 3.")
    if not stages:
        raise InputError(f"{operation}: stages must have at least one entry, got none. Give one per operation.")
    steps = _forward(stages, inputs, Scatter())
    return _backward(steps, Cotangent(rms * rms), Transfer(), reach)[0]


def _forward(stages: Sequence[Stage], signal: Signal, scatter: Scatter) -> tuple[_Step, ...]:
    steps = list[_Step]()
    for stage in stages:
        branch: tuple[_Step, ...] = ()
        if isinstance(stage, Residual):
            branch = _forward(stage.branch, signal, scatter)
            after = added(stage, signal, branch[-1].after)
            share = _share(stage, branch, after)
            # Forwards the gradient's share does not matter.
            transfer = joined(_composite(branch), share, 0.0, signal.width, scatter)
            leaving = scatter.drawn(transfer, share * _draw(branch), share)
        else:
            after = passed(stage, signal)
            leaving = scatter.after(transfer_of(stage, signal, after))
        steps.append(_Step(stage, signal, after, scatter, leaving, branch))
        signal, scatter = after, leaving
    return tuple(steps)


def _backward(
    steps: tuple[_Step, ...], gradient: Cotangent, above: Transfer, z_score: float
) -> tuple[tuple[StageLevels, ...], Cotangent]:
    """Levels of all steps, and the gradient at what enters the first; ``above`` is what lies behind the last."""
    found = list[StageLevels]()
    for step in reversed(steps):
        level = _gradient_level(gradient, above, step.leaving, z_score)
        branch: tuple[StageLevels, ...] = ()
        if isinstance(step.stage, Residual):
            share = _share(step.stage, step.branch, step.after)
            arriving = gradient.times(step.stage.scale**2)
            branch, below = _backward(step.branch, arriving, _joining(step, share).then(above), z_score)
            gradient = gradient.times(step.stage.skip**2).plus(below)
            grad_share = below.own / gradient.own if 0 < gradient.own < math.inf else 0.0
            transfer = joined(_composite(step.branch), share, grad_share, step.before.width, step.entering)
        else:
            transfer = transfer_of(step.stage, step.before, step.after, grad_kurtosis=gradient.kurtosis)
            gradient = pulled_back(step.stage, step.before, step.after, gradient)
        forward = band(step.after.square, step.leaving.drift, step.leaving.variance, z_score)
        found.append(StageLevels(step.stage, step.after, forward, level, branch))
        above = transfer.then(above)
    return tuple(reversed(found)), gradient


def _gradient_level(gradient: Cotangent, above: Transfer, scatter: Scatter, z_score: float) -> Level:
    felt = above.onto_gradient
    drift = above.grad_drift + felt * scatter.drift
    return band(gradient.own, drift, above.grad_variance + felt**2 * scatter.variance, z_score)


def _draw(branch: tuple[_Step, ...]) -> float:
    """Standard deviation of what a branch's own activation of the stream adds to its scale, behind the branch."""
    for index, step in enumerate(branch):
        if isinstance(step.stage, Activate):
            own = transfer_of(step.stage, step.before, step.after)
            return _composite(branch[index + 1 :]).through * math.sqrt(own.variance)
        if not isinstance(step.stage, Norm):
            break  # an affine map mixes the units anew
    return 0.0


def _joining(step: _Step, share: float) -> Transfer:
    """From what leaves the branch to what leaves the block; the skip's scatter is noise to the branch."""
    branch, block = step.branch[-1].leaving, step.leaving
    variance = max(block.variance - share**2 * branch.variance, 0.0)
    return Transfer(through=share, variance=variance, drift=block.drift - share * branch.drift)


def _composite(steps: tuple[_Step, ...]) -> Transfer:
    """The transfer of steps in a row."""
    whole = Transfer()
    for step in reversed(steps):
        if isinstance(step.stage, Residual):
            own = _nested(step, step.stage)
        else:
            own = transfer_of(step.stage, step.before, step.after)
        whole = own.then(whole)
    return whole


def _nested(step: _Step, stage: Residual) -> Transfer:
    share = _share(stage, step.branch, step.after)
    # A block within a branch: its gradient's share is taken as that of its signal, which it is near.
    return joined(_composite(step.branch), share, share, step.before.width, step.entering)


def _share(stage: Residual, branch: tuple[_Step, ...], after: Signal) -> float:
    """Of the branch in the mean square of the sum; what both means give is halved."""
    signal, first = branch[-1].after, branch[0].before
    if not 0 < after.square < math.inf:
        return 0.0
    means = stage.scale * stage.skip * first.mean * signal.mean
    return (stage.scale**2 * signal.square + means) / after.square
