"""Having a second derivative: kernels that have one in place of those that have none, and no silent zeros."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gainstage.errors import SubjectError

ADVICE = 'Where products="difference" can be had, it needs gradients alone.'


@contextmanager
def twice_differentiable(model: nn.Module) -> Generator[None]:
    """Inside, attention, recurrent layers and compiled functions take kernels that can be differentiated twice.

    The fused kernels of attention, cuDNN's recurrent ones and compiled backward passes cannot be. The others compute
    the same up to rounding, more slowly.

    Args:
        model: Whose layers are looked at.
    """
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        # The other cuDNN kernels have second derivatives, and are the faster ones.
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        # From torch 2.6 on; without the compiler's import there is nothing that was compiled, and it takes seconds.
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def require_whole(gradient: torch.Tensor) -> None:
    """Raises `SubjectError` if the gradient's history breaks off at a function that is marked as differentiable once.

    `torch.autograd.grad` visits only nodes that lead to what it differentiates by. The node that is to raise an error
    leads nowhere, so that the function would silently count as linear.
    """
    awaiting, seen = [gradient.grad_fn], set[Any]()
    while awaiting:
        node = awaiting.pop()
        if node is None or node in seen:
            continue
        if type(node).__name__ == "Error":
            raise SubjectError(
                "landscape: the subject must be twice differentiable, got an autograd function that is marked with "
                f"once_differentiable. {ADVICE}"
            )
        seen.add(node)
        awaiting.extend(parent for parent, _ in node.next_functions)
