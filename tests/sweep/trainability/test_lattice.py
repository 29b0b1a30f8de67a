"""The lattice: logarithmic axes, a coarse pass, and halving along a boundary."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gainstage as gs
from gainstage.sweep.trainability.lattice import STRIDE, Axis, Point, between, coarse


def test_an_axis_has_its_ends_and_one_in_exact_digits() -> None:
    axis = Axis.between("scales", 1e-2, 1e2)
    assert len(axis.values) == 17
    assert axis.values[0] == 0.01
    assert axis.values[8] == 1.0
    assert axis.values[-1] == 100.0
    assert axis.decades(0, 16) == pytest.approx(4)
    assert sum(axis.width(index) for index in range(17)) == pytest.approx(4)


@given(low=st.floats(1e-6, 1.0), decades=st.floats(0.1, 6))
def test_an_axis_covers_its_range_in_whole_strides(low: float, decades: float) -> None:
    axis = Axis.between("lr", low, low * 10**decades)
    assert len(axis.values) % STRIDE == 1
    assert axis.values[-1] >= low * 10**decades * (1 - 1e-9)
    assert axis.values[-1] <= low * 10 ** (decades + 1) * (1 + 1e-9)
    assert [axis.nearest(value) for value in axis.values] == list(range(len(axis.values)))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (2, 1), (-1, 1), (1, math.inf), (1, 1)])
def test_a_range_that_is_none_is_refused(low: float, high: float) -> None:
    with pytest.raises(gs.GainstageError, match=r"map: scales must be positive and in order, got .* Give low,high\."):
        Axis.between("scales", low, high)


def test_the_coarse_pass_has_a_point_a_decade_and_begins_in_the_middle() -> None:
    points = coarse(Axis.between("scales", 0.1, 10), Axis.between("lr", 0.1, 10))
    assert sorted(points) == [(row, column) for row in (0, 4, 8) for column in (0, 4, 8)]
    assert points[0] == (4, 4)


@given(centre=st.tuples(st.floats(2, 14), st.floats(2, 14)), radius=st.floats(3, 9))
def test_halving_finds_the_boundary_that_a_full_lattice_would(centre: tuple[float, float], radius: float) -> None:
    """A disc: after two halvings every pair of neighbours that differ has both been run, and most others have not."""

    def trains(point: Point) -> bool:
        return math.dist(point, centre) < radius

    axis = Axis.between("scales", 1e-2, 1e2)
    labels = {point: trains(point) for point in coarse(axis, axis)}
    stride = STRIDE
    while stride > 1:
        labels.update({point: trains(point) for point in between(labels, stride)})
        stride //= 2
    inside = [point for point in labels if labels[point]]
    for row, column in inside:
        for neighbour in ((row + 1, column), (row, column + 1), (row - 1, column), (row, column - 1)):
            if neighbour in labels and not labels[neighbour]:
                assert between({(row, column): True, neighbour: False}, 2) == []
    # What was inferred: each point has the label of the nearest that was run.
    wrong = 0
    for row in range(17):
        for column in range(17):
            nearest = min(labels, key=lambda p: (math.dist(p, (row, column)), p))
            wrong += labels[nearest] != trains((row, column))
    # Of a disc, four caps may bulge between two coarse points each, unseen.
    assert wrong <= 16


def test_nothing_is_wanted_where_all_is_alike() -> None:
    labels = {(row, column): True for row in (0, 4) for column in (0, 4)}
    assert between(labels, 4) == []
    assert between({**labels, (4, 4): False}, 4) == [(0, 2), (2, 0), (2, 2), (2, 4), (4, 2)]
