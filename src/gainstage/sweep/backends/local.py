"""Worker processes on this machine, each with one thread; one that dies is replaced."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress

from gainstage.errors import SweepError
from gainstage.sweep.backends.base import Computes, Numbered, Outcome
from gainstage.sweep.backends.worker import READY

# Ctrl-C reaches the whole group of processes; what becomes of a worker is for the driver to decide.
_PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); import sys; sys.path[:] = {path!r}; "
    "from gainstage.sweep.backends.worker import main; main()"
)
_FALSE_STARTS = 3


class Local:
    """Computes as many jobs at a time as there are workers; they start when they are needed.

    Workers are plain processes that find the code by the same search path, not forks and not copies of the main
    module: a script needs no guard, and what the caller has loaded or seeded does not reach them.

    Args:
        work: What the jobs have in common.
        workers: How many; the cores that this process may use by default.
    """

    def __init__(self, work: Computes, workers: int | None = None) -> None:
        self.slots = workers or cores()
        # Pickled once: a worker unpickles it only when its threads are limited.
        self._work = pickle.dumps(work)
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._idle: list[_Worker] = []
        self._all: list[_Worker] = []
        self._false_starts = 0

    def submit(self, job: Numbered) -> None:
        """Gives the job to an idle worker, or starts one.

        Raises:
            SweepError: if the machine starts no more processes.
        """
        while self._idle:
            worker = self._idle.pop()
            if worker.alive():
                worker.jobs.put(job)
                return
            worker.kill()  # it died while it had nothing to do: its thread still waits for a job
        self._all = [worker for worker in self._all if worker.unfinished()]
        try:
            self._all.append(_Worker(self._work, self._outcomes, self._idle))
        except OSError as error:
            raise _no_start(str(error)) from error
        self._all[-1].jobs.put(job)

    def wait(self, seconds: float) -> list[Outcome]:
        """The outcomes that came in.

        Raises:
            SweepError: if workers do not start.
        """
        found: list[Outcome] = []
        with suppress(queue.Empty):
            while True:
                found.append(self._outcomes.get(timeout=0 if found else seconds))
                self._false_starts = 0 if found[-1].begun else self._false_starts + 1
                if self._false_starts >= _FALSE_STARTS:
                    raise _no_start(found[-1].failure)
        return found

    def close(self) -> None:
        """Kills all workers."""
        for worker in self._all:
            worker.kill()
        for worker in self._all:
            worker.join()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


class _Worker:
    """A process, and the thread that talks to it until it dies."""

    def __init__(self, work: bytes, outcomes: queue.SimpleQueue[Outcome], idle: list[_Worker]) -> None:
        self.jobs: queue.SimpleQueue[Numbered | None] = queue.SimpleQueue()
        self._work, self._outcomes, self._idle = work, outcomes, idle
        program = _PROGRAM.format(path=[os.path.abspath(entry) for entry in sys.path])
        self._process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._thread = threading.Thread(target=self._run, name="sweep-worker", daemon=True)
        self._thread.start()

    def alive(self) -> bool:
        return self._process.poll() is None

    def unfinished(self) -> bool:
        return self._thread.is_alive()

    def kill(self) -> None:
        self._process.kill()
        self.jobs.put(None)

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        try:
            self._talk()
        finally:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(OSError):  # what could not be flushed to the dead
                    if pipe is not None:
                        pipe.close()

    def _talk(self) -> None:
        answer = self._exchange(self._work)
        job = self.jobs.get()
        if answer != READY:
            if job is not None:
                why = answer if isinstance(answer, str) else self._death()
                self._outcomes.put(Outcome(job.id, None, why, begun=False))
            return
        while job is not None:
            outcome = self._exchange(job)
            if not isinstance(outcome, Outcome):
                self._outcomes.put(Outcome(job.id, None, f"its worker died ({self._death()})"))
                return
            # Idle before the outcome is known: the driver may answer it with the next job.
            self._idle.append(self)
            self._outcomes.put(outcome)
            job = self.jobs.get()

    def _exchange(self, message: object) -> object:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump(message, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
            return pickle.load(self._process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            return None  # it died, perhaps in the midst of its answer

    def _death(self) -> str:
        status = self._process.wait()
        return f"exit status {status}" if status >= 0 else signal.Signals(-status).name


def _no_start(why: str) -> SweepError:
    return SweepError(
        f"sweep run: workers must be able to start, got {why or 'nothing'}. "
        "With --workers 0 everything is computed in one process, which shows what is wrong."
    )
