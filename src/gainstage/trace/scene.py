"""Setting the scene for a watched pass, and clearing it away: the same for a recording and for an outline."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from gainstage.errors import SubjectError
from gainstage.seeding import preserved_rng
from gainstage.trace import call
from gainstage.trace.alone import stand_alone
from gainstage.trace.eager import eager
from gainstage.trace.mode import RecordingMode
from gainstage.trace.names import ModuleStack
from gainstage.trace.preserve import WriteGuard, preserved
from gainstage.trace.provenance import Provenance
from gainstage.trace.subject import Subject


@dataclass
class Scene:
    """A model that may be run, watched by ``mode``.

    Attributes:
        mode: To be entered around the forward pass.
        batch: On the model's device, with tensors of its own.
        parameters: By the first of their full paths.
        batch_size: Of the batch, None if unknown.
        notes: What is not as in training, one line each.
    """

    mode: RecordingMode
    batch: Any
    parameters: dict[str, nn.Parameter]
    batch_size: int | None
    notes: tuple[str, ...]


@contextmanager
def scene(
    subject: Subject, batch: Any, *, careful: bool = False, backward: bool = False, measuring: bool = True,
    meta: bool = False,
) -> Generator[Scene]:  # fmt: skip
    """Everything that a watched pass needs; on leaving, everything is as it was, also after an exception.

    Args:
        subject: Whose model runs.
        batch: What it is fed.
        careful: As in `RecordingMode`.
        backward: Whether gradients will be asked for.
        measuring: Reduce figures; else only what ran is noted.
        meta: Put parameters, buffers and batch on the meta device: nothing is computed.
    """
    model = subject.model
    modules = dict(model.named_modules())
    with torch.inference_mode(False):
        batch = _on_meta(batch) if meta else call.aliased(call.to_device(batch, model))
    held = [tensor for _, tensor in call.tensors_of(batch)]
    named = _distinct(modules, "_parameters")
    guard = WriteGuard([] if meta else [*named.values(), *held])
    batch_size = next((tensor.shape[0] for tensor in held if tensor.ndim), None)
    stack = ModuleStack(modules)
    with ExitStack() as scope:
        scope.callback(guard.restore)
        scope.enter_context(torch.inference_mode(False))
        scope.enter_context(preserved_rng())
        scope.enter_context(preserved(list(modules.values()), buffers=not meta))
        if meta:
            _put_on_meta(modules)
            named = _distinct(modules, "_parameters")
            scope.enter_context(torch.device("meta"))
        notes = stand_alone(modules, named)
        scope.enter_context(torch.enable_grad() if backward else torch.no_grad())
        scope.enter_context(eager())
        scope.enter_context(stack.following())
        provenance = Provenance(named, held, _distinct(modules, "_buffers").values())
        mode = RecordingMode(
            stack, provenance, guard, batch_size, careful=careful, backward=backward, measuring=measuring
        )
        yield Scene(mode, batch, named, batch_size, notes)


def _distinct(modules: Mapping[str, nn.Module], kind: str) -> dict[str, Any]:
    """Parameters or buffers by the first of their paths, as `named_parameters` has them, without another walk."""
    found: dict[str, Any] = {}
    seen = set[int]()
    for path, module in modules.items():
        for name, tensor in (vars(module).get(kind) or {}).items():
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                found[f"{path}.{name}" if path else name] = tensor
    return found


def _on_meta(batch: Any) -> Any:
    return pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to("meta"), call.plain(batch))


def _put_on_meta(modules: Mapping[str, nn.Module]) -> None:
    """Replaces parameters and buffers in the modules' own tables, which `preserved` puts back."""
    tables = [vars(module).get(kind) or {} for module in modules.values() for kind in ("_parameters", "_buffers")]
    if not all(isinstance(table, dict) for table in tables):
        raise SubjectError("outline: the modules must hold their tensors themselves, got a scripted one. Compute it.")
    twins: dict[int, torch.Tensor] = {}

    def twin(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in twins:
            empty = torch.empty_like(tensor, device="meta")
            shared = isinstance(tensor, nn.Parameter)
            twins[id(tensor)] = nn.Parameter(empty, requires_grad=tensor.requires_grad) if shared else empty
        return twins[id(tensor)]

    for table in tables:
        for name, tensor in table.items():
            if tensor is not None:
                table[name] = twin(tensor)
    for module in modules.values():
        flat = vars(module).get("_flat_weights")  # of torch's recurrent layers, beside their parameters
        if isinstance(flat, list):
            flat[:] = [twin(weight) if isinstance(weight, torch.Tensor) else weight for weight in flat]
