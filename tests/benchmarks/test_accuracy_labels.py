from __future__ import annotations

from pathlib import Path

import pytest
from accuracy.cases import HEALTHY, Case, Extent, built, cases, digest
from accuracy.labels import settled
from accuracy.store import Row, Store

TWIN = Case("development", "mlp-binary")
SMALL = Extent(seeds=(0,), steps=3)


@pytest.mark.parametrize(
    ("losses", "label"),
    [
        ((0.5, 0.4), "worse"),
        ((0.005, -0.2), "not worse"),
        ((0.5, 0.0), None),
        ((0.05, 0.06, 0.07), "worse"),
        ((0.02, 0.0, 0.01), "not worse"),
        ((0.5, 0.0, 0.0), None),
        ((0.02, 0.021, 0.022), "not worse"),
        ((0.2,), "worse"),
        ((0.02,), "not worse"),
    ],
)
def test_label_of_paired_losses(losses: tuple[float, ...], label: str | None) -> None:
    assert settled(losses) == label


def test_a_mutant_shares_its_twins_weights_but_for_the_fault() -> None:
    twin = built(TWIN, 0, SMALL)
    mutant = built(Case("development", "mlp-binary", "read-out-scale", "mild"), 0, SMALL)
    assert twin is not None
    assert mutant is not None
    ours, theirs = twin.model.state_dict(), mutant.model.state_dict()
    assert {name for name in ours if not ours[name].equal(theirs[name])} == {"4.weight"}


def test_cases_hold_each_architectures_twin_and_only_faults_that_apply() -> None:
    found = cases("development", Extent(architectures=10, faults=1))
    assert {case.architecture for case in found} == {"mlp-relu", "mlp-binary"}
    assert [case.fault for case in found].count(HEALTHY) == 2
    assert not [case for case in found if case.fault == "shared-norm"]


def test_digest_tells_cases_and_extents_apart() -> None:
    mutant = Case("development", "mlp-binary", "gain-up", "mild")
    digests = {digest(TWIN, SMALL), digest(TWIN, Extent()), digest(mutant, SMALL), digest(mutant, Extent())}
    assert len(digests) == 4


def test_a_store_measures_what_is_missing_and_nothing_twice(tmp_path: Path) -> None:
    store, asked = Store(tmp_path / "labels.jsonl"), list[int]()

    def measure(case: Case, seed: int, extent: Extent) -> Row:
        asked.append(seed)
        return {"score": seed / 10}

    store.filled([(TWIN, 0)], measure, SMALL)
    with store.path.open("a") as file:
        file.write('{"case": "mlp-bin')
    store.path.write_text(store.path.read_text() + "\n")
    rows = store.filled([(TWIN, 0), (TWIN, 1)], measure, SMALL)
    assert asked == [0, 1]
    assert rows[TWIN, 1]["score"] == 0.1
