"""A model to operate on: a copy, or the model itself; and modules put in the place of others."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from gainstage.errors import InputError

# All that a module keeps of hooks: moved whole, so that handles which remove them still do.
_HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks", "_is_full_backward_hook",
)  # fmt: skip
OUTPUT_HOOKS = ("_forward_hooks", "_backward_hooks")


def operated(operation: str, model: nn.Module, *, inplace: bool) -> nn.Module:
    """The model itself, or a copy in which everything shared is still shared, and hooks are kept.

    Raises:
        InputError: if it is no module, or cannot be copied.
    """
    given: Any = model
    if not isinstance(given, nn.Module):
        raise InputError(f"{operation}: model must be a torch.nn.Module, got {type(given).__name__}. Build it first.")
    if inplace:
        return model
    try:
        # With gradients on, the copy of a scripted module has a history that ends in the original.
        with torch.no_grad():
            twin = copy.deepcopy(model, _uncopyable(model))
    except Exception as error:
        detail = " ".join(str(error).split())
        raise InputError(
            f"{operation}: the model must be copyable, got {type(error).__name__}: {detail} from copy.deepcopy. "
            "Pass inplace=True, or register tensors that are attributes as parameters or buffers."
        ) from error
    for old, new in zip(model.parameters(), twin.parameters(), strict=True):
        if new.requires_grad is not old.requires_grad:
            new.requires_grad_(old.requires_grad)
    return twin


def _uncopyable(model: nn.Module) -> dict[int, Any]:
    """What `copy.deepcopy` refuses: buffers without a shape, and weights that a hook computes before each call."""
    make: Any = nn.parameter.UninitializedBuffer
    memo: dict[int, Any] = {id(b): make(b.requires_grad, b.device, b.dtype) for b in model.buffers() if is_lazy(b)}
    for module in model.modules():
        if vars(module).get("_forward_pre_hooks"):
            for value in vars(module).values():
                if isinstance(value, torch.Tensor) and not value.is_leaf:
                    memo[id(value)] = value.detach().clone()
    return memo


def put_in_place(operation: str, model: nn.Module, substitutes: Mapping[int, nn.Module]) -> nn.Module:
    """The model with modules replaced wherever they are registered; the substitute itself if that is the root.

    Args:
        operation: Its name, for errors.
        model: Changed in place.
        substitutes: By the ``id`` of the module that they take the place of.

    Raises:
        InputError: if a scripted module holds one of them.
    """
    for parent in list(model.modules()):
        children: Any = vars(parent).get("_modules")
        for name, child in list((children or {}).items()):
            if child is not None and id(child) in substitutes:
                if not isinstance(children, dict):
                    raise InputError(
                        f"{operation}: the modules must not be scripted, got a {type(parent).__name__} around "
                        f"{name!r}. Operate on the model before it is scripted."
                    )
                children[name] = substitutes[id(child)]
    return substitutes.get(id(model), model)


def move_hooks(old: nn.Module, new: nn.Module) -> None:
    """Gives ``new`` the hooks of ``old``."""
    for name in _HOOKS:
        if vars(old).get(name):
            vars(new)[name] = vars(old)[name]


def hooked(module: nn.Module) -> bool:
    """Whether a hook of the module's own sees or changes what it returns."""
    return any(vars(module).get(name) for name in OUTPUT_HOOKS)


def owners(model: nn.Module) -> dict[int, list[str]]:
    """Paths of the parameters and buffers by their ``id``, one for each distinct module that holds one."""
    found: dict[int, list[str]] = {}
    for path, module in model.named_modules():
        tables: list[Any] = [vars(module).get(kind) or {} for kind in ("_parameters", "_buffers")]
        for table in tables:
            for name, tensor in table.items():
                if tensor is not None:
                    found.setdefault(id(tensor), []).append(f"{path}.{name}" if path else name)
    return found
