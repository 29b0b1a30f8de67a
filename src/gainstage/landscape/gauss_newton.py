"""The Gauss-Newton matrix of a loss, which for likelihoods is the Fisher information, by products.

With outputs z(w) and a loss ℓ(z), G = Jᵀ (∂²ℓ/∂z²) J: the Hessian without the bend of the network itself, and so
positive semi-definite where ℓ is convex in the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import _pytree as pytree

from gainstage.errors import SubjectError
from gainstage.landscape.double_backward import require_whole
from gainstage.landscape.objective import Objective
from gainstage.trace.call import choose_loss, unpack

Tensors = list[torch.Tensor]
_TWICE = 'Pass operator="hessian", which may go by differences of gradients.'

# Each is minus the logarithm of a density of an exponential family, in its natural parameters.
_LIKELIHOOD_FUNCTIONS = (F.cross_entropy, F.mse_loss, F.binary_cross_entropy_with_logits)
_LIKELIHOOD_MODULES = (nn.CrossEntropyLoss, nn.MSELoss, nn.BCEWithLogitsLoss)


def gauss_newton_product(objective: Objective, batch: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Returns v ↦ Jᵀ H_z J v for a batch; one pass forward and back serves all products.

    J v is taken as the derivative of u ↦ ⟨Jᵀu, v⟩, so that it needs what every module has, a backward pass that can
    be differentiated, and no forward-mode rule. All outputs that the loss depends on count.

    Args:
        objective: Whose loss and model.
        batch: One of its batches.

    Returns:
        A function of a vector. Valid until the parameters are moved.

    Raises:
        SubjectError: if loss and outputs cannot be told apart, or the model cannot be differentiated twice.

    Example:
        >>> from gainstage.trace import Subject
        >>> model = nn.Linear(2, 1, bias=False)
        >>> objective = Objective(Subject(model, (torch.eye(2), torch.zeros(2, 1))))
        >>> gauss_newton_product(objective, objective.batches[0])(torch.tensor([1.0, 2.0]))
        tensor([1., 2.])

    References:
        Schraudolph 2002, Fast curvature matrix-vector products for second-order gradient descent.
        Townsend 2017, A new trick for calculating Jacobian vector products.
    """
    outputs, loss_of = objective.outputs(batch, twice=True)
    with objective.explained(_TWICE), torch.enable_grad():
        leaves, free, slope = _loss_slope(outputs, loss_of)
        probes = [torch.zeros_like(leaf).requires_grad_() for leaf in leaves]
        pulled = torch.autograd.grad(leaves, objective.parameters, probes, create_graph=True, allow_unused=True)
        backward = objective.flat(pulled)
        for one in (backward, *slope):
            require_whole(one)

    def times(vector: torch.Tensor) -> torch.Tensor:
        objective.cost.products += 1
        with objective.explained(_TWICE), torch.enable_grad():
            pushed = torch.autograd.grad(backward, probes, vector, retain_graph=True, allow_unused=True)
            bent = _bent(slope, free, _filled(pushed, leaves))
            back = torch.autograd.grad(leaves, objective.parameters, bent, retain_graph=True, allow_unused=True)
        return objective.flat(back)

    return times


def require_likelihood(objective: Objective) -> None:
    """Raises `SubjectError` unless the loss is one whose Gauss-Newton matrix is the Fisher information.

    Cross-entropy of logits, binary cross-entropy of logits and squared error, each averaged in any way and without
    weights of classes, are minus log-likelihoods whose second derivative by the outputs does not depend on the
    targets: there E over targets of the model's own distribution of ∇ log p ∇ log pᵀ is G.
    """
    subject, batch = objective.subject, objective.batches[0]
    loss: Any = subject.loss
    if loss is None:
        outputs, _ = objective.outputs(batch)
        name, _, _ = choose_loss(subject, outputs, unpack(batch).targets)
        known = name in ("cross_entropy", "mse_loss")
    else:
        name = getattr(loss, "__name__", type(loss).__name__)
        weights = [getattr(loss, key, None) for key in ("weight", "pos_weight")]
        known = loss in _LIKELIHOOD_FUNCTIONS or (isinstance(loss, _LIKELIHOOD_MODULES) and weights.count(None) == 2)
    if not known:
        raise SubjectError(
            "curvature: operator fisher must have the negative logarithm of a likelihood as loss (cross-entropy or "
            f'squared error, unweighted), got {name}. Pass operator="gauss-newton", which needs no likelihood.'
        )


def _loss_slope(outputs: Any, loss_of: Callable[[Any], torch.Tensor]) -> tuple[Tensors, Tensors, Tensors]:
    """The outputs that the loss depends on, the same without a history, and the loss's gradient by those."""
    parts, structure = pytree.tree_flatten(outputs)
    cut = [part.detach().requires_grad_() if _counts(part) else part for part in parts]
    loss = loss_of(pytree.tree_unflatten(cut, structure))
    places = [place for place, part in enumerate(parts) if _counts(part)]
    if not places or not loss.requires_grad:
        raise SubjectError(
            "landscape: the outputs must be tensors in tuples, lists, dicts or registered classes that the loss "
            f"depends on, got {type(outputs).__name__}. {_TWICE}"
        )
    found = torch.autograd.grad(loss, [cut[place] for place in places], create_graph=True, allow_unused=True)
    slopes = cast("Sequence[torch.Tensor | None]", found)  # None is what allow_unused allows
    kept = [(place, slope) for place, slope in zip(places, slopes, strict=True) if slope is not None]
    return [parts[place] for place, _ in kept], [cut[place] for place, _ in kept], [slope for _, slope in kept]


def _counts(part: Any) -> bool:
    return isinstance(part, torch.Tensor) and part.requires_grad


def _bent(slopes: Tensors, free: Tensors, pushed: Tensors) -> Tensors:
    """The loss's Hessian by the outputs times a vector over them."""
    live = [(slope, push) for slope, push in zip(slopes, pushed, strict=True) if slope.requires_grad]
    if not live:  # a loss that is linear in the outputs
        return [torch.zeros_like(part) for part in free]
    found = torch.autograd.grad([s for s, _ in live], free, [p for _, p in live], retain_graph=True, allow_unused=True)
    return _filled(found, free)


def _filled(tensors: Sequence[torch.Tensor | None], like: Tensors) -> Tensors:
    return [torch.zeros_like(b) if a is None else a for a, b in zip(tensors, like, strict=True)]
