"""The loss of one run and of many at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.func import vmap

from gainstage.sweep.data import Data
from gainstage.sweep.references import resolve
from gainstage.sweep.spec import Spec

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def loss_function(spec: Spec, data: Data) -> LossFunction:
    """The loss of a specification.

    Args:
        spec: Whose ``loss`` names it, or is None.
        data: Whose targets decide then: cross-entropy for classes, mean squared error for numbers.

    Returns:
        A function (outputs, targets) -> mean over the batch.
    """
    if spec.loss is not None:
        return resolve(str(spec.loss))
    return F.cross_entropy if data.classes else F.mse_loss


def losses(function: LossFunction, outputs: torch.Tensor, targets: torch.Tensor, *, shared: bool) -> torch.Tensor:
    """The loss of each run.

    Args:
        function: Of one run.
        outputs: Of shape (runs, batch, ...).
        targets: Of shape (batch, ...) if shared, else (runs, batch, ...).
        shared: Whether all runs have the same targets.

    Returns:
        Of shape (runs,).

    Example:
        >>> losses(F.mse_loss, torch.ones(3, 4), torch.zeros(4), shared=True)
        tensor([1., 1., 1.])
    """
    if function is F.cross_entropy and outputs.dim() == 3:
        # One kernel for all runs, where vmap takes the loss apart; with the classes before the samples, as the stacked
        # networks have them, it is also several times as fast.
        labels = targets.expand(len(outputs), -1) if shared else targets
        return F.cross_entropy(outputs.transpose(1, 2), labels, reduction="none").mean(1)
    return vmap(function, in_dims=(0, None if shared else 0))(outputs, targets)


def cross_entropies(outputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """ℓ = mean(-log softmax(z)_y) of each run, and dℓ/dz = (softmax(z) - e_y)/n, without autograd.

    Args:
        outputs: z, of shape (runs, classes, batch).
        labels: y, of shape (runs, batch).

    Returns:
        The losses, of shape (runs,), and the gradient, of the outputs' shape.

    Raises:
        RuntimeError: if a label is no class.

    Example:
        >>> loss, gradient = cross_entropies(torch.zeros(1, 2, 1), torch.tensor([[1]]))
        >>> round(loss.item(), 4), gradient.flatten().tolist()
        (0.6931, [0.5, -0.5])
    """
    places = labels.unsqueeze(1)
    logs = torch.log_softmax(outputs, 1)
    found = logs.gather(1, places).mean((1, 2)).neg_()
    gradient = logs.exp_()
    gradient.scatter_add_(1, places, gradient.new_full((1, 1, 1), -1.0).expand(places.shape))
    return found, gradient.mul_(1 / labels.shape[1])


def hits(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """How many samples of each run have their largest output in the place of their class.

    Args:
        outputs: Of shape (runs, batch, classes, ...).
        targets: Of shape (batch, ...), the same for all runs.

    Returns:
        Of shape (runs,), as a mean over what a sample has besides classes.

    Example:
        >>> hits(torch.eye(3).expand(2, 3, 3), torch.tensor([0, 1, 1]))
        tensor([2., 2.])
    """
    right = (outputs.argmax(2) == targets).to(outputs.dtype)
    return right.flatten(2).mean(2).sum(1) if right.dim() > 2 else right.sum(1)
