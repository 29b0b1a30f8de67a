"""Whether a mutant trains worse than its twin: paired by seed, with a margin that was fixed beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from accuracy.cases import Case, Extent, built
from accuracy.store import Row, Store
from accuracy.training import trained_score
from gainstage.numerics.intervals import paired_interval
from gainstage.seeding import preserved_rng

Label = Literal["worse", "not worse", "unclear"]
MARGIN = 0.03
CONFIDENCE = 0.9
# Where both of the first two pairs lie beyond these, a third would decide nothing.
PLAINLY_WORSE, PLAINLY_NOT = 0.1, 0.01


def score_row(case: Case, seed: int, extent: Extent) -> Row:
    """The score of one training."""
    setup = built(case, seed, extent)
    assert setup is not None
    with preserved_rng(seed + 1000):
        return {"score": round(trained_score(setup, seed), 5)}


def settled(losses: Sequence[float]) -> Label | None:
    """What two pairs or more say, or one where there is no second; None where another is needed.

    Two losses of score beyond the plain limits settle it. Else it is worse where the mean loss is above the margin and
    its interval above zero, and not worse where the interval ends below the margin.
    """
    if len(losses) == 1:
        return "worse" if losses[0] > MARGIN else "not worse"
    if min(losses) > PLAINLY_WORSE:
        return "worse"
    if max(losses) < PLAINLY_NOT:
        return "not worse"
    if len(losses) == 2:
        return None
    interval = paired_interval(losses, CONFIDENCE)
    if interval.mean > MARGIN and interval.low > 0:
        return "worse"
    return "not worse" if interval.high < MARGIN else None


def labelled(cases: Sequence[Case], store: Store, extent: Extent, workers: int = 1) -> Mapping[Case, Label]:
    """Of every mutant among the cases; missing trainings are done first, the seeds past the second where needed."""
    found: dict[Case, Label | None] = {case: None for case in cases if not case.healthy}
    for count in sorted({min(2, len(extent.seeds)), len(extent.seeds)}):
        open_cases = [case for case, label in found.items() if label is None]
        seeds = extent.seeds[:count]
        jobs = [(case, seed) for case in dict.fromkeys([*(c.twin for c in open_cases), *open_cases]) for seed in seeds]
        rows = store.filled(jobs, score_row, extent, workers)
        for case in open_cases:
            found[case] = settled([rows[case.twin, seed]["score"] - rows[case, seed]["score"] for seed in seeds])
    return {case: label or "unclear" for case, label in found.items()}
