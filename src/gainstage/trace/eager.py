"""Running compiled modules eagerly: a dispatch mode sees nothing of what a compiler has fused."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch.jit._fuser import optimized_execution


@contextmanager
def eager() -> Generator[None]:
    """Lets `torch.compile`d functions and torch's fused inference layers run as they were written."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # Scripted modules fuse once they have run a few times, and hide what they fused.
        with optimized_execution(False), _uncompiled():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


@contextmanager
def _uncompiled() -> Generator[None]:
    # Who compiled something has imported it; importing it here would cost seconds for nothing.
    frames: Any = sys.modules.get("torch._dynamo.eval_frame")
    if frames is None:
        yield
    elif hasattr(torch.compiler, "set_stance"):
        with torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
            # It says that a hook fires once more for the wrapper; that only names it.
            warnings.filterwarnings("ignore", message="Using `torch.compile.module.` when there are global hooks")
            yield
    else:  # torch before 2.6: a callback that is never installed compiles nothing
        installed = frames.set_eval_frame
        frames.set_eval_frame = _install_nothing
        try:
            yield
        finally:
            frames.set_eval_frame = installed


def _install_nothing(_callback: Any) -> None:
    return None
