from dataclasses import replace

import pytest

from gainstage import landscape
from gainstage.lab.apparatus.walk import halts
from gainstage.lab.catalogue.how_it_helps.smoothness_design import SMOKE
from gainstage.lab.measurements.how_it_helps.smoothness import Here, measure, steps, training


@pytest.mark.parametrize("norm", ["none", "batch", "frozen"])
@pytest.mark.parametrize("relative", [False, True])
def test_it_is_the_probe_that_users_have(norm, relative):
    lr, cap = (0.01, None) if relative else (0.1, 0.3)
    for halt in halts(training(SMOKE, 3, norm, 0.1)):
        found = Here.of(halt).measures(steps(SMOKE, lr, cap or 1e9), relative=relative)
        twin = landscape.smoothness(
            halt.model, halt.batch, lr=lr, cap=cap, count=SMOKE.count, metric="relative" if relative else "absolute"
        )
        expected = (twin.loss_range, twin.gradient_predictiveness, twin.beta_smoothness)
        assert list(found.values()) == pytest.approx(expected, rel=1e-3)


def test_a_probe_leaves_the_training_as_it_is():
    looked = {(row["norm"], row["lr"], row["step"]): row["loss"] for row in measure(SMOKE, 3)}
    for norm in ("none", "batch"):
        for halt in halts(training(SMOKE, 3, norm, 0.1)):
            assert halt.loss == looked[norm, 0.1, halt.step]


def test_a_run_that_diverges_says_so():
    wild = replace(SMOKE, scale=1e30, lrs=(0.1,))
    rows = [row for row in measure(wild, 0) if row["norm"] == "none"]
    assert [row["diverged"] for row in rows] == [True] * 3
    assert all(row["beta"] is None and row["relative_beta"] is None for row in rows)
