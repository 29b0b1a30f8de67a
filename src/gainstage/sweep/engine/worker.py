"""The other end of `gainstage.sweep.engine.processes`: chunks in on stdin, rows out on stdout."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from typing import BinaryIO

import torch

from gainstage.sweep.execution import execute


def main() -> None:
    """Computes chunks until stdin ends."""
    # What the models print must not get between the rows.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    torch.set_num_threads(1)
    _answer(answers, "ready")
    while True:
        try:
            spec, cells, mode = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        _answer(answers, execute(spec, cells, mode=mode))


def _answer(answers: BinaryIO, content: object) -> None:
    pickle.dump(content, answers)
    answers.flush()
