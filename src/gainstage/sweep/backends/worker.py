"""A worker process of the local backend: jobs in from standard input, outcomes out where standard output was.

python -c "from gainstage.sweep.backends.worker import main; main()"
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from contextlib import suppress
from typing import BinaryIO

from gainstage.sweep.backends.base import Computes, attempt, told

# Each worker is one thread: as many workers as cores are faster than any of them with several threads.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
READY = "ready"


def main() -> None:
    """Works until standard input ends. The first message is the work, the others are jobs."""
    os.environ.update(_ONE_THREAD)  # before anything imports torch
    threading.Thread(target=_die_with_parent, args=(os.getppid(),), daemon=True).start()
    source, sink = sys.stdin.buffer, _taken_stdout()
    try:
        work = pickle.loads(pickle.load(source))
    except Exception as error:
        work, answer = None, told(error)
    else:
        answer = READY
        limit_threads()
    with suppress(BrokenPipeError):  # the driver is gone, and nobody to be told
        _send(sink, answer)
        if work is not None:
            _serve(work, source, sink)


def _serve(work: Computes, source: BinaryIO, sink: BinaryIO) -> None:
    while True:
        try:
            job = pickle.load(source)
        except EOFError:
            return
        _send(sink, attempt(work, job))


def _send(sink: BinaryIO, message: object) -> None:
    pickle.dump(message, sink, protocol=pickle.HIGHEST_PROTOCOL)
    sink.flush()


def _taken_stdout() -> BinaryIO:
    # What a model prints must not end up among the outcomes.
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return sink


def limit_threads() -> None:
    """Makes torch, if it is loaded, compute with one thread."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def _die_with_parent(parent: int) -> None:
    # A driver that was killed cannot say so, and a chunk may take long.
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
