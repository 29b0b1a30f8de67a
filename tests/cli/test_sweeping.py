"""``gainstage sweep``: what it prints, where, and with which exit status."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import jsonschema
import pytest

from gainstage.report.sweep_json import schema_text, shipped_schema
from gainstage.sweep import execution
from gainstage.sweep.result import Result
from sweep import arithmetic as stand_in

SPEC = """
name = "tiny"
model = "sweep.arithmetic:model"
data = "sweep.arithmetic:data"
steps = 10
[axes]
lr = [0.1, 1.0, 3.0]
at = [0, 1, 2, 3]
[fixed]
seed = 0
"""
# In a process of its own: the command line with the arithmetic in the engine's place.
PROGRAM = """
import os, sys
if os.isatty(0):
    os.open(os.ttyname(0), os.O_RDWR)  # which makes it the terminal that controls this session
sys.path[:] = {path!r}
from sweep import arithmetic
from gainstage.sweep import execution
execution.execute, execution.plan = arithmetic.execute, arithmetic.plan
from gainstage.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "execute", stand_in.execute)
    monkeypatch.setattr(execution, "plan", stand_in.plan)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "tiny.toml").write_text(SPEC)
    return tmp_path / "tiny.toml"


def program(*arguments: object) -> list[str]:
    path = [entry for entry in sys.path if entry]
    return [sys.executable, "-c", PROGRAM.format(path=path), *map(str, arguments)]


def test_run_status_and_resume(run, spec, tmp_path):
    store = tmp_path / "store"
    status, out, err = run("sweep", "run", str(spec), "--store", str(store), "--workers", "0")
    assert status == 0
    assert out.splitlines() == ["tiny: 12 of 12 cells done, 4 diverged, 0 failed", f"store: {store}"]
    plan, *_, last = err.splitlines()
    assert plan.startswith("12 cells in 3 chunks over 1 processes")
    assert last.startswith("store: 12/12 cells, ")
    assert last.endswith(" cells/s, 33% diverged")
    assert run("sweep", "status", str(store)) == (0, out, "")
    assert run("sweep", "resume", str(store)) == (0, out, "")


def test_json_is_as_its_schema_says(run, spec, tmp_path):
    store = tmp_path / "store"
    _, out, _ = run("sweep", "run", str(spec), "--store", str(store), "--workers", "0", "--format", "json")
    document = json.loads(out)
    validator = jsonschema.Draft202012Validator(json.loads(shipped_schema()))
    validator.validate(document)
    assert (document["done"], document["diverged"], document["complete"]) == (12, 4, True)
    assert run("sweep", "status", str(store), "--format", "json")[1] == out
    with pytest.raises(jsonschema.ValidationError, match="'twelve' is not of type 'integer'"):
        validator.validate({**document, "done": "twelve"})


def test_the_shipped_schema_is_the_generated_one():
    remedy = "python -m gainstage.report.sweep_json > src/gainstage/report/schemas/sweep.schema.json"
    assert shipped_schema() == schema_text(), f"regenerate it: {remedy}"


def test_failed_cells_are_told_with_the_first_reason(run, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(SPEC.replace("seed = 0", 'seed = 0\nbad = "raises"').replace("[0, 1, 2, 3]", "[0]"))
    status, out, _ = run("sweep", "run", str(path), "--store", str(tmp_path / "store"), "--workers", "0")
    assert status == 1
    assert "0 diverged, 3 failed" in out
    assert "first failure: seed=0, bad=raises, lr=0.1, at=0: failed 2 times: ArithmeticError: a bad cell (" in out
    assert run("sweep", "status", str(tmp_path / "store"))[0] == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("status", "nowhere"), "store must hold a sweep, got none (nowhere)"),
        (("resume", "nowhere"), "store must hold a sweep, got none (nowhere)"),
        (("run", "nowhere.toml"), "nowhere.toml"),
        (("run", "SPEC", "--address", "auto"), "address must come with backend 'ray'"),
        (("run", "SPEC", "--backend", "slurm"), "slurm"),
    ],
)
def test_errors_are_one_line_and_status_2(run, spec, tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    status, out, err = run("sweep", *(str(spec) if part == "SPEC" else part for part in arguments))
    assert (status, out) == (2, "")
    assert err.startswith("gainstage: ")
    assert err.count("\n") == 1
    assert told in err


def test_a_damaged_store_is_told_and_mended(run, spec, tmp_path):
    store = tmp_path / "store"
    _, before, _ = run("sweep", "run", str(spec), "--store", str(store), "--workers", "0")
    shard = next((store / "shards").iterdir())
    os.truncate(shard, shard.stat().st_size - 1)
    status, _, err = run("sweep", "resume", str(store))
    assert status == 2
    assert f"gainstage sweep resume {store} --mend runs its 4 lost cells again" in err
    assert run("sweep", "resume", str(store), "--mend", "--workers", "0")[:2] == (0, before)


def read_all(terminal: int, into: list[bytes]) -> None:
    with suppress(OSError):  # the other side is closed
        while piece := os.read(terminal, 4096):
            into.append(piece)


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_exits_with_130_and_can_be_gone_on_with(tmp_path):
    """A real terminal: the signal reaches driver and workers alike, as from a keyboard."""
    path = tmp_path / "long.toml"
    path.write_text(SPEC.replace("[0, 1, 2, 3]", str(list(range(4000)))))
    driver, terminal = pty.openpty()
    child = subprocess.Popen(
        program("sweep", "run", path, "--store", tmp_path / "store", "--workers", 2),
        stdin=terminal, stdout=subprocess.PIPE, stderr=terminal, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    told: list[bytes] = []
    # All along: what is unread when the leader of a session ends is lost.
    reader = threading.Thread(target=read_all, args=(driver, told))
    reader.start()
    while not (tmp_path / "store" / "shards").exists() or not Result(tmp_path / "store").status.done:
        assert child.poll() is None
        time.sleep(0.02)
    os.write(driver, b"\x03")
    out, _ = child.communicate(timeout=30)
    reader.join()
    os.close(driver)
    assert (child.returncode, out) == (130, b"")
    *_, going_on, interrupted = b"".join(told).decode().split("\r\n")[:-1]
    assert going_on.endswith(f"What is done is kept; go on: gainstage sweep resume {tmp_path / 'store'}")
    assert interrupted == "interrupted"
    assert b"Traceback" not in b"".join(told)
    status = Result(tmp_path / "store").status
    assert 0 < status.done < 12000
    assert status.running == 0


def test_looking_at_a_store_needs_no_torch(run, spec, tmp_path):
    store = tmp_path / "store"
    run("sweep", "run", str(spec), "--store", str(store), "--workers", "0")
    path = [entry for entry in sys.path if entry]
    probe = (
        f"import sys; sys.path[:] = {path!r}\nfrom gainstage.cli import main\n"
        f"main(['sweep', 'status', {str(store)!r}]); print('torch' in sys.modules, 'ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"
