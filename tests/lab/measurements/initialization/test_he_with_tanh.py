from dataclasses import replace

from gainstage.lab.catalogue.initialization.he_with_tanh import CLAIM
from gainstage.lab.measurements.initialization.he_with_tanh import measure


def test_the_best_rate_counts():
    many = replace(CLAIM.smoke, rates=(1e-6, 0.1))
    alone = [{row["accuracy"] for row in measure(replace(CLAIM.smoke, rates=(rate,)), 0)[:1]} for rate in many.rates]
    assert measure(many, 0)[0]["accuracy"] == max(max(found) for found in alone)


def test_he_s_signals_stay_larger_and_its_gradients_grow():
    rows = measure(replace(CLAIM.smoke, width=200, depths=(20,)), 0)
    initial = {row["rule"]: row for row in rows if row["kind"] == "initial"}
    # closed_form: with σ_w² = 1 the mean square falls to about 1/(2·20); σ_w² = 2 takes it from 2 to q* = 0.56
    assert initial["xavier"]["signal"] < -1.0 < -0.7 < initial["he"]["signal"]
    assert initial["xavier"]["gradient"] < initial["he"]["gradient"]
