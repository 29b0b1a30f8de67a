"""Where a tensor's values come from: which layers, or which parameters, through which operations.

Keyed by the storage that a tensor and its views share, so that views, in-place operations and slices keep
their origin. Every operation on a tensor is seen by the dispatch mode, hence a storage that is freed and used
again has been given its new origin before anyone asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from gainstage.trace.preserve import storage_key


@dataclass(frozen=True)
class Origin:
    """The origin of a tensor.

    Attributes:
        data: Whether it depends on the batch.
        layers: Positions of the layers whose outputs it is made of.
        via: Operations since then that changed values and have no record of their own.
        parameters: If it does not depend on the batch: the parameters that it is computed from.
        noise: Whether it is freshly drawn random numbers.
        plain: Whether it is a parameter itself, or a view of it.
        modifiers: The parameters that those operations applied, each with its operation: (``mul``, ``alpha``).
    """

    data: bool = False
    layers: tuple[int, ...] = ()
    via: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    noise: bool = False
    plain: bool = False
    modifiers: tuple[tuple[str, str], ...] = ()


NOTHING = Origin()


def merged(origins: Iterable[Origin], op: str | None = None) -> Origin:
    """The origin of what an operation makes of tensors with these origins.

    Args:
        origins: Of its inputs.
        op: The operation's name if it changes values, None for views and copies.
    """
    origins = list(origins)
    data = [origin for origin in origins if origin.data]
    if not data and op is None and len(origins) == 1:
        return origins[0]
    if not data:
        names = dict.fromkeys(name for origin in origins for name in origin.parameters)
        return Origin(parameters=tuple(names), noise=any(origin.noise for origin in origins))
    if op is None and len(data) == 1:
        return data[0]
    layers = dict.fromkeys(layer for origin in data for layer in origin.layers)
    via = dict.fromkeys(name for origin in data for name in origin.via)
    modifiers = dict.fromkeys(pair for origin in data for pair in origin.modifiers)
    if op is not None:
        modifiers.update(((op, name), None) for origin in origins if not origin.data for name in origin.parameters)
        via[op] = None
    return Origin(data=True, layers=tuple(layers), via=tuple(via), modifiers=tuple(modifiers))


class Provenance:
    """The origin of every tensor that is alive.

    Args:
        parameters: By full path.
        inputs: The tensors of the batch.
        buffers: Of the model, as they are while it runs.
    """

    def __init__(
        self, parameters: Mapping[str, torch.Tensor], inputs: Iterable[torch.Tensor],
        buffers: Iterable[torch.Tensor] = (),
    ) -> None:  # fmt: skip
        self._origins: dict[int, Origin] = {}
        self.matrices = frozenset(name for name, parameter in parameters.items() if parameter.ndim >= 2)
        self._buffers = {_key(buffer) for buffer in buffers}
        inputs = list(inputs)
        # They live as long as the recording, so that nothing else can have their storage.
        self._given = {_key(tensor) for tensor in inputs}
        for name, parameter in parameters.items():
            self.assign(parameter, Origin(parameters=(name,), plain=True))
        for tensor in inputs:
            self.assign(tensor, Origin(data=True))

    def is_buffer(self, tensor: torch.Tensor) -> bool:
        """Whether it is a buffer of the model, or a view of one."""
        return _key(tensor) in self._buffers

    def is_given(self, tensor: torch.Tensor) -> bool:
        """Whether it is a tensor of the batch, or a view of one."""
        return _key(tensor) in self._given

    def of(self, tensor: torch.Tensor) -> Origin:
        """The tensor's origin; that of nothing if it was never seen."""
        return self._origins.get(_key(tensor), NOTHING)

    def assign(self, tensor: torch.Tensor, origin: Origin) -> None:
        """Sets the origin of the tensor and of all that shares its storage."""
        self._origins[_key(tensor)] = origin


def _key(tensor: torch.Tensor) -> int:
    key = storage_key(tensor)
    return id(tensor) if key is None else key
