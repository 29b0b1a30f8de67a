"""`run` and `resume`: from a specification to rows, and what they refuse."""

from __future__ import annotations

import json
import sys

import pytest

from gainstage import sweep
from gainstage.errors import InputError, StoreError, SweepError, UnknownNameError
from gainstage.sweep import runner
from gainstage.sweep.plans import Chunk, Plan
from gainstage.sweep.runner import identify, resume, run, stored_spec
from sweep import arithmetic
from sweep.arithmetic import execute, plan, spec

ENGINE = {"execute": execute, "plan": plan}


def exact(result):
    return [repr(row) for row in result]


def test_a_sweep_runs_and_is_answered_from_its_store(tmp_path):
    plans, moments = [], []
    first = run(spec(), store=tmp_path, on_plan=plans.append, on_progress=moments.append, **ENGINE)
    assert [row.key for row in first] == [cell.key for cell in spec().cells()]
    assert [dict(row.values) for row in first] == [dict(cell.values) for cell in spec().cells()]
    assert first.status.diverged == 4
    assert len(plans) == 1
    last = moments[-1]
    assert (last.status, last.eta, last.diverged_share) == (first.status, 0.0, 4 / 12)
    again = run(spec(), store=tmp_path, on_plan=plans.append, execute=None, plan=None)
    assert exact(again) == exact(first)
    assert len(plans) == 1


def test_in_this_process_and_in_workers_the_rows_are_the_same(tmp_path):
    assert exact(run(spec(), store=tmp_path / "a", workers=0, **ENGINE)) == exact(
        run(spec(), store=tmp_path / "b", workers=2, **ENGINE)
    )


def test_the_default_store_is_named_after_the_sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(spec(), workers=0, **ENGINE)
    assert (tmp_path / "sweeps" / "arithmetic" / "sweep.sqlite3").is_file()


@pytest.mark.parametrize("bad", [None, "fine"])
def test_the_specification_comes_back_from_the_store(tmp_path, bad):
    asked = spec(fixed={"bad": bad}, stop={"factor": 1e3}, measure=(0, 3), axes={"lr": (0.1, 2.0), "seed": (1, 2)})
    run(asked, store=tmp_path, workers=0, **ENGINE)
    assert stored_spec(tmp_path) == asked
    assert exact(resume(tmp_path, **ENGINE)) == exact(run(asked, store=tmp_path, **ENGINE))


def test_paths_in_a_stored_specification_do_not_depend_on_the_folder(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text("def net(): ...\ndef data(): ...\n")
    monkeypatch.chdir(tmp_path)
    asked = spec(model="nets.py:net", data="nets.py:data", axes={"lr": (0.1, 0.2)}, fixed={"seed": 0})
    stored = json.loads(identify(asked, asked.cells()).specification)
    assert (stored["model"], stored["data"]) == (f"{tmp_path}/nets.py:net", f"{tmp_path}/nets.py:data")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"axes": {"lr": (0.1, 1.0), "seed": range(4)}}, r'specification is "axes": .*0.1, 1.0\].*, got "axes".*3.0\]'),
        ({"axes": {"seed": range(4), "lr": (0.1, 1.0, 3.0)}}, "specification is"),
        ({"steps": 11}, 'specification is "steps": 11,, got "steps": 10,'),
    ],
)
def test_another_specification_is_told_and_not_mixed(tmp_path, changes, told):
    run(spec(), store=tmp_path, workers=0, **ENGINE)
    with pytest.raises(StoreError, match=told):
        run(spec(**changes), store=tmp_path, **ENGINE)


def test_changed_code_is_told_and_not_mixed(tmp_path, monkeypatch):
    nets = tmp_path / "nets.py"
    nets.write_text("def net(): ...\ndef data(): ...\n")
    asked = {"model": f"{nets}:net", "data": f"{nets}:data", "axes": {"lr": (0.1, 0.2)}, "fixed": {"seed": 0}}
    before = identify(spec(**asked), spec(**asked).cells())
    nets.write_text("def net(): return 1\ndef data(): ...\n")
    monkeypatch.setattr("gainstage.sweep.references._RESOLVED", {})
    after = identify(spec(**asked), spec(**asked).cells())
    assert (before.specification, before.versions) == (after.specification, after.versions)
    assert before.hash != after.hash


def test_other_versions_are_told_and_not_mixed(tmp_path, monkeypatch):
    run(spec(), store=tmp_path, workers=0, **ENGINE)
    monkeypatch.setattr(runner, "_versions", lambda: "gainstage=9 torch=9")
    with pytest.raises(StoreError, match=r"set of versions is gainstage=9 torch=9, got gainstage=.* torch="):
        run(spec(), store=tmp_path, **ENGINE)


def test_without_resume_a_store_must_be_new(tmp_path):
    run(spec(), store=tmp_path / "new", resume=False, workers=0, **ENGINE)
    with pytest.raises(StoreError, match="store must be new without resume"):
        run(spec(), store=tmp_path / "new", resume=False, **ENGINE)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"backend": "locol"}, UnknownNameError, "backend must be a known one, got 'locol'. Did you mean 'local'"),
        ({"address": "auto"}, InputError, "address must come with backend 'ray', got 'auto' with 'local'"),
        ({"workers": -1}, InputError, "workers must be a positive number, got -1"),
        ({"workers": 0, "backend": "ray"}, InputError, "workers must be a positive number, got 0"),
        ({"tries": 0}, InputError, "tries must be at least 1, got 0"),
    ],
)
def test_arguments_that_cannot_be_used(tmp_path, options, error, told):
    with pytest.raises(error, match=told):
        run(spec(), store=tmp_path / "store", **options, **ENGINE)
    assert not (tmp_path / "store").exists()


def test_a_plan_that_forgets_cells_is_refused(tmp_path):
    def forgets(spec, cells):
        return Plan((Chunk(cells[1:], "looped", "", 0.0),))

    with pytest.raises(SweepError, match="plan must have each of 12 cells once, got 11"):
        run(spec(), store=tmp_path, execute=execute, plan=forgets)
    assert len(run(spec(), store=tmp_path, workers=0, **ENGINE)) == 12


def test_without_ray_one_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"backend 'ray' needs Ray, .*pip install 'gainstage\[cluster\]'"):
        run(spec(), store=tmp_path, backend="ray", **ENGINE)


def test_an_interrupt_leaves_a_store_to_go_on_with(tmp_path):
    rates = {"lr": (0.1,), "at": range(12), "bad": (None,)}
    asked = spec(axes=rates, fixed={"seed": 0})
    with pytest.raises(KeyboardInterrupt):
        run(asked, store=tmp_path, workers=0, execute=interrupted, plan=plan)
    found = runner.Result(tmp_path)
    assert (found.status.done, found.status.running, found.status.complete) == (8, 0, False)
    assert run(asked, store=tmp_path, workers=0, **ENGINE).status.complete


def interrupted(spec, cells, *, mode):
    if cells[0].values["at"] == 8:
        raise KeyboardInterrupt
    return arithmetic.execute(spec, cells, mode=mode)


def test_the_public_names_are_functions_however_often_they_are_looked_up():
    assert all(callable(entry) for _ in range(2) for entry in (sweep.run, sweep.resume, sweep.Spec))
    assert sweep.run is run
