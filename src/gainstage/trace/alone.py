"""Recording inside a process group: this rank alone, and no collective."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from gainstage.errors import SubjectError


def stand_alone(modules: Mapping[str, nn.Module], parameters: Mapping[str, nn.Parameter]) -> tuple[str, ...]:
    """Lets wrappers of distributed training call their module directly, and synchronized norms norm by themselves.

    Sets ``forward`` on the instances; who calls this puts their attributes back.

    Returns:
        What is therefore not as in training, one line each.

    Raises:
        SubjectError: if the parameters are sharded: no rank has the model.
    """
    if not torch.distributed.is_available():
        return ()
    _require_whole(modules, parameters)
    synchronized = False
    for module in modules.values():
        if isinstance(module, nn.parallel.DistributedDataParallel):
            vars(module)["forward"] = partial(_call_inner, module)
        elif isinstance(module, nn.SyncBatchNorm) and torch.distributed.is_initialized():
            vars(module)["forward"] = partial(nn.modules.batchnorm._BatchNorm.forward, module)  # pyright: ignore[reportPrivateUsage]
            synchronized = True
    return ("synchronized batch norms were measured on this rank's batch alone",) if synchronized else ()


def world_size(modules: Mapping[str, nn.Module]) -> int | None:
    """Number of processes that train copies of the model: of the wrapper's group, else of the default one, or None."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return None
    wrappers = (module for module in modules.values() if isinstance(module, nn.parallel.DistributedDataParallel))
    group: Any = next((wrapper.process_group for wrapper in wrappers), None)
    return int(torch.distributed.get_world_size(group))


def _call_inner(wrapper: nn.Module, *args: Any, **kwargs: Any) -> Any:
    inner: Any = wrapper.module
    return inner(*args, **kwargs)


def _require_whole(modules: Mapping[str, nn.Module], parameters: Mapping[str, nn.Parameter]) -> None:
    sharded = next((name for name, p in parameters.items() if hasattr(p, "full_tensor")), None)
    wrapped = next((name for name, m in modules.items() if type(m).__name__ == "FullyShardedDataParallel"), None)
    if sharded is not None or wrapped is not None:
        raise SubjectError(
            f"record: every parameter must be whole on this rank, got a sharded one "
            f"({sharded or wrapped or '(root)'}). Record the model before it is sharded."
        )
