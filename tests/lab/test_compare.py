import sqlite3
from dataclasses import replace

import pytest

from gainstage import lab
from gainstage.errors import InputError
from gainstage.lab.catalogue import CLAIMS
from gainstage.lab.store import FILE_NAME

CLAIM = CLAIMS[0]


def verdict(claim_id="a", outcome="supported", preset="quick", **more):
    return lab.Verdict(claim_id, "It is so.", outcome, preset, CLAIM.scope, "Measured.", "supported", **more)


def test_equal_runs_agree():
    found = lab.diff([verdict("a"), verdict("b", "refuted")], [verdict("a"), verdict("b", "refuted")])
    assert (found.compared, found.agreement, found.flips) == (2, 1.0, ())
    assert [pair.differs for pair in found.pairs] == [(), ()]


def test_a_flip_is_told_from_a_doubt():
    first = [verdict("a"), verdict("b"), verdict("c")]
    found = lab.diff(first, [verdict("a", "refuted"), verdict("b", "inconclusive"), verdict("c")])
    assert [pair.claim_id for pair in found.flips] == ["a"]
    assert found.agreement == pytest.approx(1 / 3)


def test_what_was_not_run_is_not_compared():
    found = lab.diff([verdict("a"), verdict("b")], [verdict("a", "not-run"), verdict("c")])
    assert [pair.agrees for pair in found.pairs] == [None, None, None]
    assert found.agreement is None


def test_equal_presets_are_paired_and_else_whatever_there_is():
    both = [verdict("a"), verdict("a", "refuted", "full")]
    assert [pair.agrees for pair in lab.diff(both, both).pairs] == [True, True]
    (pair,) = lab.diff([verdict("a")], [verdict("a", preset="full")]).pairs
    assert (pair.agrees, pair.differs) == (True, ("preset",))


def test_what_was_different_is_named():
    other = verdict(versions={"torch": "3"}, device="a GPU", seeds=(5,), design_hash="0")
    (pair,) = lab.diff([verdict(seeds=(0,))], [other]).pairs
    assert pair.differs == ("design", "versions", "device", "seeds")


def test_a_store_gives_back_its_last_verdicts(tmp_path):
    ours = lab.run("lemma-4-5", store=tmp_path)
    (stored,) = lab.verdicts(tmp_path)
    assert replace(stored, rows=()) == replace(ours, rows=())
    assert stored.figure().to_dict() == ours.figure().to_dict()
    again = lab.run("lemma-4-5", seeds=[7, 8, 9, 10, 11], store=tmp_path)
    assert [found.seeds for found in lab.verdicts(tmp_path)] == [again.seeds]


def test_a_folder_without_a_store_is_left_as_it_is(tmp_path):
    with pytest.raises(InputError, match=r"lab: store must be a folder that gainstage lab run wrote.*lab run --all"):
        lab.verdicts(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_store_of_before_verdicts_were_kept_has_none(tmp_path):
    lab.run("lemma-4-5", seeds=1, store=tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("DROP TABLE results")
    connection.close()
    assert lab.verdicts(tmp_path) == ()
