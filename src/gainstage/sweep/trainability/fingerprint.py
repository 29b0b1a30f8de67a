"""What determines the runs of a map: numbers by their bytes, code by its source, settings as they are."""

from __future__ import annotations

import hashlib
import inspect
import linecache
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from enum import Enum
from functools import partial
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, NoneType
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from gainstage.sweep.trainability.variants import options_like
from gainstage.trace.subject import Subject
from gainstage.version import __version__

_PLAIN = (NoneType, bool, int, float, complex, str, bytes, Enum, np.generic, torch.dtype, torch.device, torch.Size)
# What every module has of torch's own; parameters and buffers are read by name, hooks are numbered by process.
_MECHANICS = {*vars(nn.Module()), "_compiled_call_impl"} - {"training"}
# Their code is told by their versions.
_VERSIONED = ("torch", "gainstage", "builtins", "numpy")


def fingerprints(subject: Subject, batches: Sequence[Any]) -> dict[str, str]:
    """Name to text, of all of a subject that determines its runs; equal for equal subjects in any process.

    Args:
        subject: What is mapped.
        batches: Those that are trained on.

    Validity:
        Of code it sees the files that the model's classes, loss, forward and optimizer are defined in, not what these
        import, and no hooks. An attribute that is another one in each process, such as a time, makes each subject
        another one. The same runs are equal to the last bit on the same kind of processor, with as many threads.
    """
    optimizer = subject.optimizer
    options = None if optimizer is None else options_like(optimizer)
    kinds = [type(module) for module in subject.model.modules()]
    return {
        "model's fingerprint": digest(subject.model),
        "batches' fingerprint": digest(list(batches)),
        "loss's fingerprint": digest([subject.loss, subject.forward]),
        "optimizer": "Adam" if optimizer is None else f"{type(optimizer).__name__} {digest(options)}",
        "code's fingerprint": digest(_sources([*kinds, subject.loss, subject.forward, type(optimizer)])),
        "device": _device(subject.model),
        "set of versions": f"gainstage={__version__} python={'.'.join(platform.python_version_tuple()[:2])} "
        f"torch={torch.__version__} numpy={np.__version__}",
    }


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits that depend on the content alone: tensors, modules, functions, containers of them.

    Example:
        >>> digest({"x": torch.zeros(2)}) == digest({"x": torch.zeros(2)})
        True
        >>> digest(torch.zeros(2)) == digest(torch.zeros(2, 1))
        False
    """
    found = hashlib.sha256()
    for part in _parts(value, {}):
        found.update(part)
    return found.hexdigest()[:16]


def _parts(value: Any, seen: dict[int, Any]) -> Iterator[bytes]:
    yield f"<{_name(type(value))} ".encode()
    if isinstance(value, torch.Tensor):
        yield from _tensor(value)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield f"{value.dtype} {value.shape} ".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, _PLAIN):
        yield repr(value).encode()
    elif isinstance(value, type | BuiltinFunctionType):
        yield _name(value).encode()
    elif id(value) not in seen:
        # Equal tuples may be one object or two, as python has it; in a ring there is always something else.
        if not isinstance(value, tuple):
            seen[id(value)] = value
        for inner in _inside(value):
            yield from _parts(inner, seen)
    yield b">"


def _tensor(value: torch.Tensor) -> Iterator[bytes]:
    if is_lazy(value):
        yield b"lazy"
        return
    yield f"{value.dtype} {tuple(value.shape)} {value.requires_grad} ".encode()
    if value.layout != torch.strided:
        value = value.to_dense()
    flat = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    yield flat.view(torch.uint8).numpy().tobytes()


def _inside(value: Any) -> Iterable[Any]:
    """What an object consists of, as far as it matters for a run."""
    if isinstance(value, nn.Module):
        return _modules(value)
    if isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value)
        return [part for pair in pairs.items() for part in pair]
    if isinstance(value, Set):
        return sorted(map(repr, cast("Set[Any]", value)))
    if isinstance(value, (list, tuple, np.ndarray)):
        return list(cast("Iterable[Any]", value))
    if isinstance(value, FunctionType):
        # An empty cell has no contents to ask for; it equals another empty one.
        closed = [cell.cell_contents for cell in value.__closure__ or () if cell != CellType()]
        return [_name(value), value.__defaults__, value.__kwdefaults__, closed]
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    # What torch holds besides tensors and modules (generators, hooks) is no part of what is copied for a run.
    return [] if _is_versioned(type(value)) else _state(value)


def _state(value: Any) -> list[Any]:
    """What a copy would be made from, whatever kind of object it is; nothing for a lock or a file."""
    try:
        made = value.__reduce_ex__(4)
    except Exception:
        return []
    return [made] if isinstance(made, str) else [list(part) if isinstance(part, Iterator) else part for part in made]


def _modules(model: nn.Module) -> Iterator[Any]:
    for name, module in model.named_modules():
        yield name, _name(type(module))
        yield [(key, item) for key, item in sorted(vars(module).items()) if key not in _MECHANICS]
        yield list(module.named_parameters(recurse=False))
        yield list(module.named_buffers(recurse=False))


def _sources(things: Iterable[Any]) -> list[str]:
    """The text of every file that one of them is defined in; notebooks' cells count as files."""
    files = {file for thing in things for file in _files(thing)}
    return sorted({"".join(linecache.getlines(file)) for file in files})


def _files(thing: Any) -> Iterator[str]:
    if isinstance(thing, partial):
        thing = thing.func
    if isinstance(thing, nn.Module) or not isinstance(thing, type | FunctionType | MethodType):
        thing = type(thing)
    kinds = thing.__mro__ if isinstance(thing, type) else (thing,)
    for kind in kinds:
        if _is_versioned(kind):
            continue
        for function in vars(kind).values() if isinstance(kind, type) else (kind,):
            code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
            if isinstance(code, CodeType):
                yield code.co_filename


def _is_versioned(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).partition(".")[0] in _VERSIONED


def _name(thing: Any) -> str:
    # Not the module of the user's own: a file may be loaded under one name or another.
    name = str(getattr(thing, "__qualname__", type(thing).__qualname__))
    return f"{thing.__module__}.{name}" if _is_versioned(thing) else name


def _device(model: nn.Module) -> str:
    devices = {parameter.device for parameter in model.parameters()}
    names = {torch.cuda.get_device_name(device) if device.type == "cuda" else device.type for device in devices}
    return ", ".join(sorted(names))
