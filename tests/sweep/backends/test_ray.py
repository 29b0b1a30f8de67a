"""On Ray: the same rows, lost workers and nodes, bad cells. Skipped by name where Ray is not installed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gainstage.errors import SweepError
from gainstage.sweep.backends import Ray, Work
from gainstage.sweep.drive import drive
from gainstage.sweep.result import Result
from gainstage.sweep.store import Store
from sweep.trivial import Trivial, cells, execute, identity, sweep

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning")]


@pytest.fixture(scope="module")
def ray():
    return pytest.importorskip("ray", reason="ray is not installed: pip install 'gainstage[cluster]'")


@pytest.fixture(scope="module")
def cluster(ray):
    """Two nodes of two cores each on this machine; yields it and this process as their driver."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    made.add_node(num_cpus=2)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def on_ray(folder: Path, spec: Trivial, count: int, chunk: int, address: str | None) -> Result:
    with Store(folder, identity(count)) as store:
        store.lay(("looped", range(start, min(start + chunk, count))) for start in range(0, count, chunk))
        backend = Ray(Work(execute, spec), address=address)
        try:
            drive(store, backend, cells(count))
        finally:
            backend.close()
    return Result(folder)


def exact(result: Result) -> list[str]:
    return [repr(row) for row in result]


def test_two_nodes_compute_what_this_machine_does(cluster, tmp_path):
    backend = Ray(Work(execute, Trivial()), address=cluster.address)
    assert backend.slots == 4
    backend.close()
    found = on_ray(tmp_path / "ray", Trivial(), 100, 7, cluster.address)
    assert exact(found) == exact(sweep(tmp_path / "local", Trivial(), 100, 7, workers=2))


def test_bad_cells_are_found_and_the_others_are_done(cluster, tmp_path):
    result = on_ray(tmp_path / "ray", Trivial(killers=(3,), raisers=(9,)), 16, 4, cluster.address)
    failed = {row.values["at"]: row.error for row in result if row.error is not None}
    assert failed[3] == "failed 2 times: its worker died (WorkerCrashedError)"
    assert failed[9].startswith("failed 2 times: ArithmeticError: cell 9 is bad")
    assert set(failed) == {3, 9}
    assert result.status.done == 16


def workers_of_ray() -> list[int]:
    """Processes that compute a task right now."""
    found = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in found.splitlines() if "ray::_compute" in line]


def test_killed_workers_are_replaced(cluster, tmp_path):
    killed: list[int] = []

    def kill_some() -> None:
        while len(killed) < 3:
            for pid in workers_of_ray()[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.4)

    killer = threading.Thread(target=kill_some, daemon=True)
    killer.start()
    found = on_ray(tmp_path / "ray", Trivial(seconds=0.3), 48, 2, cluster.address)
    killer.join(10)
    assert len(killed) == 3
    assert exact(found) == exact(sweep(tmp_path / "local", Trivial(), 48, 2))


def test_a_lost_node_costs_its_chunks_in_flight(cluster, tmp_path):
    node = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    loss = threading.Timer(2.0, lambda: cluster.remove_node(node, allow_graceful=False))
    loss.start()
    found = on_ray(tmp_path / "ray", Trivial(seconds=0.5), 48, 2, cluster.address)
    loss.join()
    assert exact(found) == exact(sweep(tmp_path / "local", Trivial(), 48, 2))


DRIVER = """
import sys
from pathlib import Path
from sweep.backends.test_ray import on_ray
from sweep.trivial import Trivial
on_ray(Path(sys.argv[1]), Trivial(sys.argv[2], seconds=0.2), 24, 2, sys.argv[3])
"""


def killed_driver(store, log, address):
    """A driver that is killed when it has done eight jobs.

    Ray's client now and then waits for ever for the first answer of its cluster (in GcsClient.Connect, before anything
    of ours runs): such a driver is started anew.
    """
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", DRIVER, str(store), str(log), address])
        waited_until = time.monotonic() + 60
        while not log.exists() or len(log.read_text().split()) < 8:
            assert child.poll() is None
            if not log.exists() and time.monotonic() > waited_until:
                break
            time.sleep(0.05)
        child.kill()
        child.wait()
        if log.exists():
            return
    raise AssertionError("no driver reached its cluster")


def test_a_killed_driver_can_be_resumed_by_any_backend(cluster, tmp_path):
    store, log = tmp_path / "ray", tmp_path / "log"
    killed_driver(store, log, cluster.address)
    assert 0 < Result(store).status.done < 24
    clean = exact(sweep(tmp_path / "local", Trivial(), 24, 2))
    assert exact(on_ray(store, Trivial(), 24, 2, cluster.address)) == clean


ALONE = """
import sys, socket, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from sweep.backends.test_ray import on_ray
from sweep.trivial import Trivial
from sweep.backends.listening import addresses
from gainstage.sweep.backends import Ray
started = Ray._start_here
def noted(self, workers):
    started(self, workers)
    print(*addresses())
Ray._start_here = noted
print(len(on_ray(Path(sys.argv[1]), Trivial(), 12, 4, None)))
import ray
print(ray.is_initialized())
"""


def test_without_an_address_one_is_started_and_ended(ray, tmp_path):
    path = os.pathsep.join(entry for entry in sys.path if entry)
    child = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path / "ray")], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    listening, done, still_there = child.stdout.splitlines()
    assert (done, still_there) == ("12", "False")
    assert set(listening.split()) == {"127.0.0.1"}


IMPORTED_BEFORE = """
import ray
from sweep.trivial import execute
from gainstage.sweep.backends import Ray, Work
try:
    Ray(Work(execute, None))
finally:
    print(ray.is_initialized())
"""


def test_a_ray_that_would_listen_to_the_network_is_refused(ray, tmp_path):
    path = os.pathsep.join(entry for entry in sys.path if entry)
    child = subprocess.run(
        [sys.executable, "-c", IMPORTED_BEFORE], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if child.returncode == 0:
        pytest.skip("this machine has no interface but the loopback")
    assert "SweepError: sweep run: Ray must listen on the loopback interface" in child.stderr.splitlines()[-1]
    assert child.stdout.split() == ["False"]


def test_an_address_where_nobody_answers_is_told(ray, tmp_path):
    path = os.pathsep.join(entry for entry in sys.path if entry)
    program = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from gainstage.sweep.backends import Ray, Work\nfrom sweep.trivial import execute\n"
        "Ray(Work(execute, None), address='127.0.0.1:1')"
    )
    child = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert SweepError.__name__ in child.stderr.splitlines()[-1], child.stderr
    assert "--address must be that of a running Ray cluster, got '127.0.0.1:1'" in child.stderr.splitlines()[-1]
