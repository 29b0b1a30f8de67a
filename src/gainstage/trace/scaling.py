"""Setting the level of each layer in one forward pass: as it runs, its weight and its output are scaled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from gainstage.errors import SubjectError
from gainstage.trace import maps, ops, reductions
from gainstage.trace.maps import Geometry, Part
from gainstage.trace.outline import run_forward
from gainstage.trace.preserve import storage_key
from gainstage.trace.provenance import Origin
from gainstage.trace.recorder import explained
from gainstage.trace.scene import scene
from gainstage.trace.subject import Subject

_COPIES = ("_to_copy", "clone", "contiguous")
_DATA = Origin(data=True)


@dataclass(frozen=True)
class Reached:
    """A weight's layer as the pass met it.

    Attributes:
        before: rms of its output, without the bias, at the weight as it was; of q where q, k and v share it.
        after: As scaled.
        note: Why it was left as it was, or "".
    """

    before: float
    after: float
    note: str = ""


class ScalingMode(TorchDispatchMode):
    """Scales the weights that it has a target for, each at its first use, and the output of that use with it.

    Whatever runs later reads the scaled output, so that one pass in execution order sets every layer.

    Args:
        parameters: All of the model's, by full path.
        targets: The rms that the output of a weight's layer is to have, by the weight's full path.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], targets: Mapping[str, float]) -> None:
        super().__init__()
        self.parameters, self.targets = parameters, targets
        self.reached: dict[str, Reached] = {}
        self._names = {key: name for name, p in parameters.items() if (key := storage_key(p)) is not None}
        # Casts of a weight, as autocast makes them; held, so that no other tensor takes over their memory.
        self._copies: dict[int, torch.Tensor] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs the operation; if it is the first use of a weight, sets its level."""
        results = func(*args, **(kwargs or {}))
        facts = ops.facts_of(func)
        if facts.spec.role == "map" and facts.spec.kind != "embedding" and isinstance(results, torch.Tensor):
            self._reach(facts.spec, args, results)
        elif facts.name in _COPIES and self._origin(args[0]).plain:
            key = storage_key(results)
            if key is not None:
                self._names[key], self._copies[key] = self._origin(args[0]).parameters[0], results
        return results

    def _origin(self, tensor: torch.Tensor) -> Origin:
        key = storage_key(tensor)
        name = None if key is None else self._names.get(key)
        return _DATA if name is None else Origin(parameters=(name,), plain=True)

    def _reach(self, spec: ops.OpSpec, args: tuple[Any, ...], output: torch.Tensor) -> None:
        geometry = maps.geometry(spec, args, self._origin)
        if geometry is None or geometry.signal is None:
            return
        name = geometry.parameters[0]
        for part in geometry.parts or (None,):
            label = name if part is None else f"{name}[{part.label}]"
            if name in self.targets and label not in self.reached:
                self.reached[label] = self._scaled(geometry, part, output, self.targets[name])

    def _scaled(self, geometry: Geometry, part: Part | None, output: torch.Tensor, target: float) -> Reached:
        weight, bias = (geometry.weight, geometry.bias) if part is None else (part.weight, part.bias)
        own = output if part is None else output.narrow(-1, part.start, part.length)
        if bias is not None and bool(bias.any()):
            shift = bias.view(-1, *[1] * (output.ndim - 2)) if geometry.kind == "conv" else bias
            own = own.sub_(shift)
        else:
            shift = None
        level = _rms(own)
        if level is None or level == 0:
            reached = Reached(level or 0.0, level or 0.0, "its output is zero" if level == 0 else "it is not finite")
        else:
            factor = target / level
            weight.mul_(factor)
            key = storage_key(weight)
            if key in self._copies:
                self._original(geometry, part).mul_(factor)
            own.mul_(factor)
            reached = Reached(level, target)
        if shift is not None:
            own.add_(shift)
        return reached

    def _original(self, geometry: Geometry, part: Part | None) -> torch.Tensor:
        parameter = self.parameters[geometry.parameters[0]].detach()
        return parameter if part is None else parameter.narrow(0, "qkv".index(part.label) * part.length, part.length)


def _rms(tensor: torch.Tensor) -> float | None:
    """None if a value is not finite."""
    sums = reductions.magnitudes(tensor)
    count = float(sums.count)
    return (float(sums.squares) / count) ** 0.5 if count and not int(sums.non_finite) else None


def scale(subject: Subject, targets: Mapping[str, float]) -> dict[str, Reached]:
    """Runs the model once, and scales each weight so that its layer's output has the rms asked for.

    Only the weights are changed: buffers, modes, generators and the batch are afterwards as they were.

    Args:
        subject: With the batch that levels are measured on.
        targets: rms of a layer's output, without its bias, by the full path of its weight.

    Returns:
        For each weight that was reached, what was met; those of packed projections as ``weight[q]``.

    Raises:
        SubjectError: if the batch does not fit the model.
    """
    try:
        return _scaled_pass(subject, targets, gradients=False)
    except SubjectError:
        # A model that differentiates something on its way needs gradients, and the memory that they take.
        return _scaled_pass(subject, targets, gradients=True)


def _scaled_pass(subject: Subject, targets: Mapping[str, float], *, gradients: bool) -> dict[str, Reached]:
    batch = subject.batches.first()
    with scene(subject, batch, backward=gradients, measuring=False) as stage:
        mode = ScalingMode(stage.parameters, targets)
        with mode, explained("the model must accept the batch", stage.mode):
            run_forward(subject, stage)
    return mode.reached
