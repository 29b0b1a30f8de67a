import importlib.util
import subprocess
import sys
from dataclasses import replace

import pytest

from gainstage import lab
from gainstage.errors import InputError, MissingDataError, UnknownNameError
from gainstage.lab import runner
from gainstage.lab.course import Watch
from gainstage.lab.seeds import SeedWork
from gainstage.lab.store import Store
from gainstage.sweep.backends import Inline

SOME = ("lemma-4-5", "scale-invariance")


def comparable(verdict):
    return replace(verdict, seconds=0.0)


def test_processes_come_to_the_verdicts_of_one_process():
    alone = [comparable(lab.run(claim_id)) for claim_id in SOME]
    together = lab.run_all(SOME, workers=2)
    assert [comparable(verdict) for verdict in together] == alone


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_ray_comes_to_them_too():
    (found,) = lab.run_all(["lemma-4-5"], backend="ray", workers=2)
    assert comparable(found) == comparable(lab.run("lemma-4-5"))


def test_verdicts_come_as_they_are_reached(tmp_path):
    seen, told = [], []
    lab.run_all(
        SOME, backend="inline", store=tmp_path, on_result=seen.append, on_progress=lambda *now: told.append(now)
    )
    assert {verdict.claim_id for verdict in seen} == set(SOME)
    assert told[0] == (0, 10)
    assert told[-1] == (10, 10)


def test_a_base_seed_moves_every_seed():
    (found,) = lab.run_all(["lemma-4-5"], backend="inline", base_seed=100)
    assert found.seeds == (100, 101, 102, 103, 104)
    with pytest.raises(InputError, match="seeds must not be negative"):
        lab.run_all(["lemma-4-5"], base_seed=-1)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"ids": ["lemma-4-6"]}, "Did you mean 'lemma-4-5'"),
        ({"preset": "fulll"}, "Did you mean 'full'"),
        ({"backend": "rai"}, "Did you mean 'ray'"),
    ],
)
def test_unknown_names_are_told(options, match):
    with pytest.raises(UnknownNameError, match=match):
        lab.run_all(**options)


def planted(measure):
    from gainstage.lab.catalogue import find

    return replace(find("lemma-4-5", "test"), measure=measure)


def run_planted(measure, store=None):
    claim = planted(measure)
    work = SeedWork("quick", {claim.id: claim}.__getitem__)
    return runner.run_experiments([claim], work, Inline, store=store, watch=Watch())[0]


def test_missing_data_is_not_run_and_says_what_to_do(tmp_path):
    def measure(design, seed):
        raise MissingDataError("lab run: data must be in a folder. Give one.")

    found = run_planted(measure, tmp_path)
    assert found.outcome == "not-run"
    assert "Give one." in found.why
    assert [verdict.outcome for verdict in lab.verdicts(tmp_path)] == ["not-run"]


def test_a_measurement_that_fails_is_tried_twice_and_is_no_result(tmp_path):
    tries = []

    def measure(design, seed):
        tries.append(seed)
        raise ZeroDivisionError("by zero")

    found = run_planted(measure, tmp_path)
    assert found.outcome == "inconclusive"
    assert "failed 2 times, ZeroDivisionError: by zero" in found.why
    assert max(map(tries.count, tries)) == 2


def test_an_interrupt_keeps_what_is_done(tmp_path):
    def measure(design, seed):
        if seed == 3:
            raise KeyboardInterrupt
        return [{"x": 1.0}]

    with pytest.raises(KeyboardInterrupt):
        run_planted(measure, tmp_path)
    store = Store(tmp_path)
    (count,) = store._connection.execute("SELECT COUNT(*) FROM seeds").fetchone()
    store.close()
    assert count == 3


def test_verdicts_are_read_without_torch(tmp_path):
    lab.run("lemma-4-5", store=tmp_path)
    code = (
        "import sys; from gainstage import lab; "
        f"print(len(lab.verdicts({str(tmp_path)!r})), len(lab.published()) >= 0, 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1", "True", "False"]
