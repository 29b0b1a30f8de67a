"""Random state, scoped: what runs inside a scope draws as it likes, and nothing outside notices."""

from __future__ import annotations

import random
import zlib
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def preserved_rng(seed: int | None = None) -> Generator[None]:
    """Restores the state of python's, numpy's and torch's generators (every CUDA device's too) on leaving.

    Args:
        seed: If given, all of them are seeded with it inside the scope.
    """
    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)


def generator(seed: int, *labels: str) -> torch.Generator:
    """A CPU generator whose stream depends on the seed and the labels, and on nothing else.

    A parameter's own path as its label makes what it draws independent of the order of registration.
    """
    salt = zlib.crc32("\0".join(labels).encode())
    return torch.Generator().manual_seed((seed * 0x9E3779B1 + salt * 0x85EBCA6B) % 2**63)
