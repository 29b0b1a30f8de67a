"""``--weights``: a state dict from a file into a model, whole or not at all."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.parameter import is_lazy

from gainstage.errors import InputError
from gainstage.integrations.packages import first_line

_NESTED = ("state_dict", "model_state_dict", "model")  # where training loops keep it in a checkpoint
_PREFIXES = ("module.", "_orig_mod.", "model.")  # of DistributedDataParallel, torch.compile, Lightning
_NAMED = 3


def load_weights_(model: nn.Module, path: Path) -> None:
    """Sets parameters and buffers to those of a file; the model is as it was if they do not fit.

    Args:
        model: Changed in place; its optimizer keeps its parameters.
        path: A .safetensors file, or any that ``torch.load(weights_only=True)`` reads, also a checkpoint with
            a state dict in it.

    Raises:
        InputError: if it cannot be read, or keys or shapes differ.
    """
    given = _without_prefix(_read(path), model)
    own = model.state_dict()
    missing = [key for key in own if key not in given and not _dispensable(key, own, given)]
    unexpected = [key for key in given if key not in own]
    shapes = [
        f"{key!r} {tuple(given[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in given and _comparable(own[key], given[key]) and own[key].shape != given[key].shape
    ]
    faults = [
        _counted(len(missing), "missing key", map(repr, missing)),
        _counted(len(unexpected), "unexpected key", (_nearest(key, missing) for key in unexpected)),
        _counted(len(shapes), "other shape", shapes),
    ]
    if any(faults):
        raise InputError(
            f"--weights: {str(path)!r} must fit the model, got {'; '.join(filter(None, faults))}. "
            "Nothing was loaded; build the model that they were saved from."
        )
    try:
        model.load_state_dict(given, strict=False)
    except Exception as error:
        raise InputError(f"--weights: {str(path)!r} must fit the model, got {first_line(error)}.") from error


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"--weights: the file must exist, got {str(path)!r}. Paths are relative to {Path.cwd()}.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"--weights: {str(path)!r} must be a .safetensors file or a state dict that torch.load reads with "
            f"weights_only=True, got {first_line(error)}. Save model.state_dict() alone: a whole model is code."
        ) from error
    return _state_dict(content, path)


def _state_dict(content: Any, path: Path) -> dict[str, Any]:
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(cast("Any", content).get(key), Mapping):
            content = cast("Any", content)[key]
    entries = cast("Mapping[Any, Any]", content) if isinstance(content, Mapping) else {}
    if not any(isinstance(value, torch.Tensor) for value in entries.values()):
        raise InputError(
            f"--weights: {str(path)!r} must hold a state dict, got {type(content).__name__} without tensors. "
            "Save model.state_dict()."
        )
    return {str(key): value for key, value in entries.items()}


def _without_prefix(given: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """The entries under the model's own names, where a wrapper put the same prefix before all of them."""
    own = model.state_dict()
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in given) and not any(key.startswith(prefix) for key in own):
            given = {key.removeprefix(prefix): value for key, value in given.items()}
    return given


def _dispensable(key: str, own: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether a missing key is a counter that old files lack, or the same tensor under another name (tied weights)."""
    if key.endswith("num_batches_tracked"):
        return True
    place = _place(own[key])
    return place is not None and any(place == _place(own[other]) for other in given if other in own)


def _place(value: Any) -> tuple[Any, ...] | None:
    if not isinstance(value, torch.Tensor) or is_lazy(value) or value.numel() == 0:
        return None
    return value.data_ptr(), value.shape, value.stride()


def _comparable(own: Any, given: Any) -> bool:
    return isinstance(own, torch.Tensor) and isinstance(given, torch.Tensor) and not is_lazy(own)


def _counted(count: int, noun: str, entries: Iterable[str]) -> str:
    """``5 missing keys (a, b, c, ...)``, or nothing."""
    if not count:
        return ""
    listed = list(entries)
    more = ", ..." if count > _NAMED else ""
    return f"{count} {noun}{'s' if count > 1 else ''} ({', '.join(listed[:_NAMED])}{more})"


def _nearest(key: str, missing: list[str]) -> str:
    near = difflib.get_close_matches(key, missing[:200], n=1, cutoff=0.8)
    return f"{key!r} for {near[0]!r}?" if near else repr(key)
