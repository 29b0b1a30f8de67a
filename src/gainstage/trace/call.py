"""Calling a model on a batch of any admitted form, and coming to a scalar loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import _pytree as pytree

from gainstage.errors import SubjectError
from gainstage.trace.subject import Subject


@dataclass(frozen=True)
class Unpacked:
    """A batch split into what the model takes and what the loss takes."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    targets: Any


def unpack(batch: Any) -> Unpacked:
    """Inputs and targets of one batch.

    Raises:
        SubjectError: if the batch has none of the admitted forms.
    """
    if isinstance(batch, Mapping):
        return Unpacked((), batch, batch.get("labels"))
    if isinstance(batch, torch.Tensor):
        return Unpacked((batch,), {}, None)
    entries: list[Any] = list(batch) if isinstance(batch, (tuple, list)) else []
    if len(entries) > 2 and all(isinstance(entry, torch.Tensor) for entry in entries):
        return Unpacked(tuple(entries[:-1]), {}, entries[-1])
    if len(entries) in (1, 2):
        inputs, targets = entries[0], entries[1] if len(entries) == 2 else None
        if isinstance(inputs, Mapping):
            return Unpacked((), inputs, targets)
        return Unpacked(tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,), {}, targets)
    size = f" of {len(entries)}" if isinstance(batch, (tuple, list)) else ""
    raise SubjectError(
        f"Subject: a batch must be (inputs, targets), a dict or a tensor, got {type(batch).__name__}{size}. "
        "Put several inputs before the targets, (a, b, targets), or into a tuple of their own, ((a, b), targets); or "
        "pass forward=."
    )


def to_device(batch: Any, model: nn.Module) -> Any:
    """The batch with its tensors on the device of the model's first parameter or buffer."""
    first = next(model.parameters(), None)
    first = next(model.buffers(), None) if first is None else first
    if first is None:
        return batch
    device = first.device
    return pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), plain(batch))


def aliased(batch: Any) -> Any:
    """The batch with tensors of its own over the same memory: a model that asks its input for a gradient, or
    hooks it, does so to these."""
    return pytree.tree_map_only(torch.Tensor, _alias, plain(batch))


def _alias(tensor: torch.Tensor) -> torch.Tensor:
    # A tensor made in inference mode can never have a history; a copy can.
    return tensor.clone() if tensor.is_inference() else tensor.detach().requires_grad_(tensor.requires_grad)


def plain(batch: Any) -> Any:
    """The batch as a plain dict if it is another mapping."""
    # A mapping of its own class (a tokenizer's output) is a leaf to pytree: its tensors would stay behind.
    return dict(batch) if isinstance(batch, Mapping) and type(batch) is not dict else batch


def tensors_of(value: Any) -> list[tuple[str, torch.Tensor]]:
    """Every tensor in a nested value, with its place (``[0]['mask']``)."""
    leaves, _ = pytree.tree_flatten_with_path(plain(value))
    found = [(pytree.keystr(path), leaf) for path, leaf in leaves if isinstance(leaf, torch.Tensor)]
    if not found and hasattr(value, "__dict__"):
        found = [(f".{key}", item) for key, item in vars(value).items() if isinstance(item, torch.Tensor)]
    return found


def prediction(outputs: Any) -> torch.Tensor | None:
    """The tensor that a loss would read: the output itself, its logits, or the first floating one in it."""
    if isinstance(outputs, torch.Tensor):
        return outputs
    logits = _entry(outputs, "logits")
    if isinstance(logits, torch.Tensor):
        return logits
    floating = (tensor for _, tensor in tensors_of(outputs) if tensor.is_floating_point() or tensor.is_complex())
    return next(floating, None)


def own_loss(outputs: Any) -> torch.Tensor | None:
    """The loss that the model computed itself, if it did."""
    loss = _entry(outputs, "loss")
    return loss if isinstance(loss, torch.Tensor) and loss.ndim == 0 else None


def _entry(outputs: Any, key: str) -> Any:
    return outputs.get(key) if isinstance(outputs, Mapping) else getattr(outputs, key, None)


def class_targets(outputs: torch.Tensor, targets: Any) -> bool:
    """Whether the targets are integer class labels for these outputs."""
    if not isinstance(targets, torch.Tensor) or targets.is_floating_point() or targets.dtype is torch.bool:
        return False
    return targets.ndim == outputs.ndim - 1


def classes_last(outputs: torch.Tensor, targets: Any) -> bool:
    """Whether the shapes say that classes stand in the last of more than two dimensions, not in dimension 1."""
    if not isinstance(targets, torch.Tensor) or outputs.ndim < 3:
        return False
    return outputs.shape[:-1] == targets.shape and outputs.shape[:1] + outputs.shape[2:] != targets.shape


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with the classes in dimension 1, or in the last one where the shapes say so."""
    if classes_last(outputs, targets):
        return F.cross_entropy(outputs.flatten(0, -2), targets.flatten().long())
    return F.cross_entropy(outputs, targets.long())


def mean_squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared error; targets that only lack or add dimensions of size one are brought to the outputs' shape."""
    if targets.shape != outputs.shape and targets.numel() == outputs.numel():
        targets = targets.reshape(outputs.shape)
    return F.mse_loss(outputs, targets.to(outputs.dtype))


def surrogate(outputs: torch.Tensor) -> torch.Tensor:
    """A scalar whose gradient at the outputs is a fixed random sign of size 1/count: for batches without targets."""
    signs = torch.randint(0, 2, outputs.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return (outputs * signs.to(outputs)).real.mean() if outputs.is_complex() else (outputs * signs.to(outputs)).mean()


LossChoice = tuple[str, bool, Callable[[], torch.Tensor]]


def choose_loss(subject: Subject, outputs: Any, targets: Any) -> LossChoice:
    """Name of the loss, whether gainstage chose it, and the call that computes it.

    Raises:
        SubjectError: if the outputs hold no tensor to compute a loss from.
    """
    if subject.loss is not None:
        loss = subject.loss
        return getattr(loss, "__name__", type(loss).__name__), False, lambda: loss(outputs, targets)
    own = own_loss(outputs)
    if own is not None:
        return "model", True, lambda: own
    output = prediction(outputs)
    if output is None:
        raise SubjectError(
            f"record: the model's output must hold a tensor, got {type(outputs).__name__}. "
            "Pass loss= (outputs, targets) -> scalar, or forward= (model, batch) -> scalar."
        )
    if targets is None:
        return "surrogate", True, lambda: surrogate(output)
    if class_targets(output, targets):
        return "cross_entropy", True, lambda: cross_entropy(output, targets)
    return "mse_loss", True, lambda: mean_squared_error(output, targets)


def scalar_loss(value: Any, source: str) -> torch.Tensor:
    """``value`` if it is a scalar tensor.

    Raises:
        SubjectError: if not.
    """
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return value.reshape(())
    shape = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
    raise SubjectError(f"record: {source} must return a scalar tensor, got {shape}. Reduce it, e.g. with .mean().")


def batch_loss(subject: Subject, model: nn.Module, batch: Any) -> torch.Tensor:
    """The scalar loss of one batch, as training computes it."""
    batch = to_device(batch, model)
    if subject.forward is not None:
        return scalar_loss(subject.forward(model, batch), "forward")
    unpacked = unpack(batch)
    outputs = model(*unpacked.args, **unpacked.kwargs)
    _, _, compute = choose_loss(subject, outputs, unpacked.targets)
    return scalar_loss(compute(), "loss")
