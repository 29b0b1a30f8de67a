"""Running a model for what can be seen of it meanwhile, and leaving it as it was."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from gainstage.seeding import preserved_rng
from gainstage.trace import call
from gainstage.trace.alone import stand_alone
from gainstage.trace.eager import eager
from gainstage.trace.preserve import preserved

AnyForward = Callable[[nn.Module, Any], Any]


@contextmanager
def undisturbed(model: nn.Module, *, seed: int | None = None, gradients: bool = False) -> Generator[None]:
    """Inside, the model may be run in any mode; on leaving, also after an exception, everything is as it was.

    Modes, flags, buffers (clones stand in for them), hooks, attributes and random generators are put back. Nothing
    compiled runs, and in a process group this rank runs alone.

    Args:
        model: What will run.
        seed: Of all random generators inside; None: they go on from where they stand.
        gradients: Let operations have a history; a model that differentiates on its way needs it.

    Raises:
        SubjectError: if the parameters are sharded.
    """
    modules = dict(model.named_modules())
    with ExitStack() as scope:
        scope.enter_context(torch.inference_mode(False))
        scope.enter_context(preserved_rng(seed))
        scope.enter_context(preserved(list(modules.values())))
        # A scripted module keeps its mode where `preserved` does not see it.
        scope.callback(_restore_modes, [(module, module.training) for module in modules.values()])
        stand_alone(modules, dict(model.named_parameters()))
        scope.enter_context(torch.set_grad_enabled(gradients))
        scope.enter_context(eager())
        yield


def _restore_modes(modes: list[tuple[nn.Module, bool]]) -> None:
    for module, training in modes:
        if module.training is not training:
            module.training = training


def set_mode(modules: Iterable[nn.Module], *, training: bool) -> None:
    """Sets the flags alone: a module's own ``train`` may do more, such as merging weights."""
    for module in modules:
        module.training = training


def outputs_of(model: nn.Module, batch: Any, forward: AnyForward | None = None) -> Any:
    """What the model returns for a batch of any admitted form, or what ``forward(model, batch)`` does.

    Raises:
        SubjectError: if the batch has none of the admitted forms.
    """
    # Some models write into their inputs.
    return returned(model, pytree.tree_map_only(torch.Tensor, _cloned, call.to_device(batch, model)), forward)


def returned(model: nn.Module, batch: Any, forward: AnyForward | None = None) -> Any:
    """`outputs_of` a batch that is on the model's device and that may be written to."""
    if forward is not None:
        return forward(model, batch)
    unpacked = call.unpack(batch)
    return model(*unpacked.args, **unpacked.kwargs)


@contextmanager
def seeing_inputs(modules: Mapping[str, nn.Module], see: Callable[[str, torch.Tensor], None]) -> Generator[None]:
    """Inside, ``see(path, input)`` is called before each call of these modules with its first argument."""

    def look(path: str, _module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        first = first_input(inputs, named)
        if isinstance(first, torch.Tensor):
            see(path, first.detach())

    handles = [
        module.register_forward_pre_hook(partial(look, path), with_kwargs=True) for path, module in modules.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_input(inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """The first argument of a call, by position or by name; None without."""
    return inputs[0] if inputs else next(iter(named.values()), None)


def _cloned(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)
