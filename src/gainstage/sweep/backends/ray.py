"""Ray's core tasks, one for each chunk: on a cluster, or on a Ray that is started for the run on this machine."""

from __future__ import annotations

import importlib
import ipaddress
import os
import socket
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from gainstage.errors import InputError, SweepError
from gainstage.sweep.backends.base import Computes, Numbered, Outcome, attempt
from gainstage.sweep.backends.worker import limit_threads

# Ray's own way to one machine alone, in spite of its name on every system; read when ray is imported. Without it
# Ray turns 127.0.0.1 into the machine's address, and listens on all interfaces.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


class Ray:
    """Computes as many jobs at a time as the cluster has cores.

    A Ray that is started here listens on the loopback interface alone, has no dashboard and sends no usage
    statistics; it ends with the run. One that the caller has initialized is used and left as it is.

    Args:
        work: What the jobs have in common. The nodes must be able to import what it refers to, by the same paths.
        workers: How many jobs at a time; all cores by default.
        address: Of a running cluster (``auto``, ``host:port`` or ``ray://host:port``); None starts one here.

    Raises:
        InputError: if Ray is not installed.
        SweepError: if the cluster cannot be reached, or a Ray started here would listen to the network.
    """

    def __init__(self, work: Computes, workers: int | None = None, address: str | None = None) -> None:
        self._ray = _imported({} if address else _LOOPBACK)
        self._owned = not self._ray.is_initialized()
        if self._owned:
            self._start(workers, address)
        self.slots = workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._work = self._ray.put(work)
        # Lost workers are the driver's to count: Ray would run a cell that kills its worker again and again.
        self._compute = self._ray.remote(num_cpus=1, max_retries=0)(_compute)
        self._jobs: dict[Any, Numbered] = {}

    def submit(self, job: Numbered) -> None:
        """Sends the job as a task."""
        self._jobs[self._compute.remote(self._work, job)] = job

    def wait(self, seconds: float) -> list[Outcome]:
        """The outcomes that came in.

        Raises:
            SweepError: if a node cannot import what the work refers to.
        """
        if not self._jobs:
            return []
        ready, _ = self._ray.wait(list(self._jobs), num_returns=1, timeout=seconds)
        if ready:
            ready, _ = self._ray.wait(list(self._jobs), num_returns=len(self._jobs), timeout=0)
        return [self._outcome(task) for task in ready]

    def close(self) -> None:
        """Cancels what runs, and ends a Ray that was started here."""
        for task in self._jobs:
            self._ray.cancel(task, force=True)
        self._jobs.clear()
        if self._owned:
            self._ray.shutdown()

    def _outcome(self, task: Any) -> Outcome:
        job, errors = self._jobs.pop(task), self._ray.exceptions
        try:
            return self._ray.get(task)
        except errors.RayTaskError as error:
            # What a cell raises is caught on the worker: this came before.
            raise SweepError(
                f"sweep run: the nodes must be able to import the code, got {_last_line(error)}. "
                "Install gainstage and your modules on every node."
            ) from error
        except errors.RayError as error:
            return Outcome(job.id, None, f"its worker died ({type(error).__name__})")

    def _start(self, workers: int | None, address: str | None) -> None:
        if address is None:
            self._start_here(workers)
            return
        try:
            _knock(address)
            self._ray.init(address=address, log_to_driver=False, logging_level="error")
        except (OSError, RuntimeError, ValueError) as error:
            raise SweepError(
                f"sweep run: --address must be that of a running Ray cluster, got {address!r} "
                f"({_last_line(error)}). Leave it out to start one on this machine."
            ) from error

    def _start_here(self, workers: int | None) -> None:
        path = os.pathsep.join(map(os.path.abspath, sys.path))
        with _environment({**_LOOPBACK, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": path}):
            self._ray.init(
                address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="error"
            )
        listening = self._ray.util.get_node_ip_address()
        if not ipaddress.ip_address(listening).is_loopback:
            self._ray.shutdown()
            raise SweepError(
                f"sweep run: Ray must listen on the loopback interface, got {listening}: it was imported before. "
                f"Set {'='.join(*_LOOPBACK.items())} before importing ray, or call ray.init() yourself."
            )


def _compute(work: Computes, job: Numbered) -> Outcome:
    limit_threads()
    return attempt(work, job)


def _imported(environment: Mapping[str, str]) -> Any:
    try:
        with _environment(environment):
            return importlib.import_module("ray")
    except ImportError as error:
        raise InputError(
            f"sweep run: backend 'ray' needs Ray, got {error}. pip install 'gainstage[cluster]', or use 'local'."
        ) from error


@contextmanager
def _environment(changes: Mapping[str, str]) -> Generator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _knock(address: str) -> None:
    """Raises OSError if nobody listens: Ray itself ends the process that it cannot connect."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "//" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
