"""``gainstage lab``: runs, pages, comparisons, and errors in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gainstage.cli import main
from gainstage.lab.store import FILE_NAME


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab") / "store"
    arguments = ["lab", "run", "lemma-4-5", "scale-invariance", "--store", str(folder), "--workers", "1"]
    assert main(arguments) == 0
    return folder


def test_a_run_says_what_it_found_and_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["lab", "run", "lemma-4-5", "--workers", "1"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "REFUTED lemma-4-5" in out
    assert "Control:" in out
    assert "gainstage lab report --store gainstage-lab" in out
    assert (tmp_path / "gainstage-lab" / FILE_NAME).is_file()


def test_a_report_is_written_from_a_store(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "report", "--store", str(store), "--output", str(tmp_path / "site")]) == 0
    assert "2 claims: 1 supported, 1 refuted" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "site").iterdir()} == {
        "index.html", "lemma-4-5.html", "lemma-4-5.csv", "scale-invariance.html", "scale-invariance.csv",
    }  # fmt: skip


def test_a_store_agrees_with_itself_and_is_told_from_other_seeds(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lab", "diff", str(store), str(store)]) == 0
    assert "100% of 2 agree; 0 supported by one and refuted by the other." in capsys.readouterr().out
    other = str(tmp_path / "other")
    main(["lab", "run", "lemma-4-5", "--store", other, "--workers", "1", "--base-seed", "100"])
    capsys.readouterr()
    assert main(["lab", "diff", str(store), other, "--all"]) == 0
    out = capsys.readouterr().out
    assert "seeds" in out
    assert "not there" in out


def test_a_flip_is_a_finding(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import replace

    from gainstage import lab
    from gainstage.lab.store import Store

    flipped = Store(tmp_path)
    for verdict in lab.verdicts(store):
        turned = replace(verdict, outcome="supported" if verdict.outcome == "refuted" else "refuted")
        flipped.put_result("verdict", verdict.claim_id, verdict.preset, turned.to_json())
    flipped.close()
    assert main(["lab", "diff", str(store), str(tmp_path)]) == 1
    assert "2 supported by one and refuted by the other" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lab", "run"), "name at least one claim"),
        (("lab", "run", "lemma-4-6"), "Did you mean 'lemma-4-5'"),
        (("lab", "run", "lemma-4-5", "--preset", "fulll"), "Did you mean 'full'"),
        (("lab", "report", "--store", "nowhere"), "Run gainstage lab run --all first"),
        (("lab", "diff", "nowhere", "nowhere"), "Run gainstage lab run --all first"),
        (("explain", "bn-and-exploding-gradient"), "Did you mean 'bn-and-exploding-gradients'"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_data_that_is_not_there_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "run", "vgg-accuracy", "--store", str(tmp_path), "--workers", "1"]) == 0
    assert "NOT RUN" in capsys.readouterr().out


def test_the_list_names_claims_and_confrontations(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "list", "--verdicts"]) == 0
    out = capsys.readouterr().out
    assert "lemma-4-5" in out
    assert "why-bn-works" in out
    assert "REFUTED" in out


def test_a_confrontation_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "initial-weights-matter-less"]) == 0
    out = capsys.readouterr().out
    assert "lemma-4-5" in out
    assert "gainstage lab run initial-weights-matter-less" in out


def test_a_name_of_a_topic_and_a_claim_shows_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "edge-of-chaos"]) == 0
    out = capsys.readouterr().out
    assert "What it says" in out
    assert "gainstage lab run edge-of-chaos" in out


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("sent", ["SIGKILL", "SIGINT"])
def test_a_run_that_was_stopped_goes_on(tmp_path: Path, sent: str) -> None:
    command = [
        sys.executable, "-m", "gainstage", "lab", "run", "scale-invariance", "lemma-4-5", "--store", str(tmp_path),
        "--workers", "1",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        child.stdout.readline()  # the first verdict
        child.send_signal(getattr(signal, sent))
        child.communicate()
    assert child.returncode == (-signal.SIGKILL if sent == "SIGKILL" else 130)
    again = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "2 claims: 1 supported, 1 refuted" in again.stdout
