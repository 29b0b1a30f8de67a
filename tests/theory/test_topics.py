"""Every topic computes its table, names functions that exist, and agrees with them."""

import importlib
import math

import pytest

from gainstage.theory import activation, critical_point, depth_scale_c, he_gain
from gainstage.theory.topics import TOPICS

NAMES = (
    "edge-of-chaos", "depth-scale", "q-map", "c-map", "gain", "gradient-norm-of-batch-norm",
    "residual-branch-scale", "finite-width", "fans",
)  # fmt: skip


def table(name):
    return next(topic for topic in TOPICS if topic.name == name).table()


def test_the_registry_has_them_all():
    assert tuple(topic.name for topic in TOPICS) == NAMES


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_a_topic_is_complete(topic):
    figures = topic.table()
    assert figures.rows
    assert all(len(row) == len(figures.columns) for row in figures.rows)
    assert not any(isinstance(cell, float) and math.isnan(cell) for row in figures.rows for cell in row)
    assert all((topic.title, topic.formula, topic.meaning, topic.validity, topic.references, figures.caption))
    assert all(hasattr(importlib.import_module(topic.module), name) for name in topic.functions)


def test_tables_are_computed_by_what_they_name():
    rows = {row[:2]: row[2:] for row in table("edge-of-chaos").rows}
    assert rows["tanh", 0.05] == critical_point(activation("tanh"), 0.05)
    assert rows["relu", 0.0] == (2.0, 1.0)
    depths = {row[0]: row[3] for row in table("depth-scale").rows}
    assert depths[2.5] == pytest.approx(depth_scale_c(activation("tanh"), 2.5, 0.05), rel=1e-9)
    assert math.inf in depths.values()
    assert {row[0]: row[3] for row in table("gain").rows}["gelu"] == he_gain(activation("gelu"))


# kind, topic, row, column, figure as printed
FIGURES = [
    ("closed_form", "c-map", 1, 1, 1 / math.pi),
    ("closed_form", "q-map", 2, 2, 1 / 36),  # torch's default divides the variance by six in each layer
    ("paper", "gradient-norm-of-batch-norm", -1, 2, 1.46694),  # Yang et al. 2019
    ("closed_form", "gradient-norm-of-batch-norm", 0, 1, 6 / 5),
    ("closed_form", "finite-width", 0, 2, 50 / 64),
    ("closed_form", "finite-width", 0, 3, 20 / 64),
    ("closed_form", "residual-branch-scale", 0, 4, 2**4),
    ("closed_form", "residual-branch-scale", -1, 5, 1001),
    ("paper", "fans", 3, 2, 9),  # pytorch issue 23854
]


@pytest.mark.parametrize(("kind", "name", "row", "column", "figure"), FIGURES)
def test_figures(kind, name, row, column, figure):
    assert kind in ("closed_form", "paper")
    assert table(name).rows[row][column] == pytest.approx(figure, rel=5e-6)
