"""Which module is running: the only thing that hooks are used for.

Hooks are global and removed on leaving, so no module is touched; what ran is seen by the dispatch mode.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules import module as module_hooks
from torch.nn.modules.dropout import _DropoutNd  # pyright: ignore[reportPrivateUsage]  # of all its dropout modules


class ModuleStack:
    """The dotted paths of the modules that are running, outermost first."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.modules = modules
        self._paths = {id(module): path for path, module in self.modules.items()}
        self._running: list[tuple[str, nn.Module]] = []
        self._recorded: list[int] = []
        self._thread = threading.get_ident()
        self._calls: Counter[str] = Counter()
        self.entered = False
        # Of the dropout modules that ran in training mode: what share they drop.
        self.dropped: dict[str, float] = {}

    @property
    def inside(self) -> bool:
        """Whether a module of the model is running."""
        return bool(self._running)

    @property
    def path(self) -> str:
        """Dotted path of the innermost running module; ``""`` is the root, and what is outside of it."""
        return self._running[-1][0] if self._running else ""

    @property
    def module(self) -> nn.Module | None:
        """The innermost running module."""
        return self._running[-1][1] if self._running else None

    def operation_name(self, op: str) -> str:
        """A name for an operation without parameters: the module's own path for the first one in a module that
        has no children, else ``path:op``."""
        leaf = bool(self._running) and next(self._running[-1][1].children(), None) is None
        if leaf and self._recorded[-1] == 0:
            self._recorded[-1] += 1
            return self.path
        return f"{self.path}:{op}"

    def unique(self, name: str) -> tuple[str, int]:
        """The name with ``#n`` for its n-th use, and n."""
        self._calls[name] += 1
        count = self._calls[name]
        return (name if count == 1 else f"{name}#{count}"), count

    @contextmanager
    def following(self) -> Generator[None]:
        """Keeps the stack up to date while modules run."""
        handles = [
            module_hooks.register_module_forward_pre_hook(self._enter),
            module_hooks.register_module_forward_hook(self._leave, always_call=True),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, _inputs: Any) -> None:
        if threading.get_ident() == self._thread and (id(module) in self._paths or self._running):
            self._running.append((self._paths.get(id(module), self.path), module))
            self._recorded.append(0)
            self.entered = True
            if isinstance(module, _DropoutNd) and module.training:
                self.dropped[self.path] = module.p

    def _leave(self, module: nn.Module, _inputs: Any, _outputs: Any) -> None:
        # An exception that the model catches itself may have skipped inner modules: unwind to this one.
        if threading.get_ident() != self._thread:
            return
        while self._running:
            self._recorded.pop()
            if self._running.pop()[1] is module:
                break
