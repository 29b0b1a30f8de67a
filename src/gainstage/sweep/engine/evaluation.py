"""Metrics over whole sets, in evaluation mode, of one run or of many."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from gainstage.errors import SpecError
from gainstage.sweep.data import Data
from gainstage.sweep.losses import LossFunction, hits, losses
from gainstage.sweep.spec import Spec


def require_measurable(spec: Spec, data: Data) -> None:
    """Raises SpecError if a metric has no meaning for the data."""
    for metric in spec.metrics:
        if metric.endswith("accuracy") and not data.classes:
            raise SpecError(
                f"Spec: metric {metric!r} must have whole-number targets, got {data.train_targets.dtype} "
                f"(in {spec.name!r}). Measure the loss."
            )


@torch.no_grad()
def evaluated(
    spec: Spec, data: Data, outputs: Callable[[torch.Tensor], torch.Tensor], function: LossFunction, piece: int
) -> Iterable[tuple[str, torch.Tensor]]:
    """The metrics over whole sets that the specification asks for.

    Args:
        spec: Which.
        data: Of what.
        outputs: Inputs of shape (batch, ...) to outputs of shape (runs, batch, ...), in evaluation mode.
        function: The loss.
        piece: Samples at once.

    Yields:
        Name and values of shape (runs,).
    """
    for name, inputs, targets in (
        ("train", data.train_inputs, data.train_targets),
        ("test", data.test_inputs, data.test_targets),
    ):
        wanted = [metric for metric in (f"{name}_loss", f"{name}_accuracy") if metric in spec.metrics]
        sums = dict.fromkeys(wanted, torch.zeros(()))
        for some, labels in zip(inputs.split(piece), targets.split(piece), strict=True) if wanted else ():
            found = outputs(some)
            for metric in wanted:
                loss = metric.endswith("loss")
                part = losses(function, found, labels, shared=True) * len(labels) if loss else hits(found, labels)
                sums[metric] = sums[metric].to(part.device) + part
        yield from ((metric, total / len(inputs)) for metric, total in sums.items())
