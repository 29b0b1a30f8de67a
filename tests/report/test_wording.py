from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.report.scale import LogScale, power_of_ten
from gainstage.report.wording import any_figure, figure, printable, verdict


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"), (0.0, "0"), (0.03125, "0.0312"), (1.0, "1"), (-2.5, "-2.5"), (999.4, "999"), (999.6, "1,000"),
        (12345.6, "12,346"), (4.1e-9, "4.1e-9"), (1e-300, "1e-300"), (-3.25e12, "-3.25e12"), (9.999e-4, "1e-3"),
        (math.nan, "NaN"), (math.inf, "inf"), (-math.inf, "-inf"),
    ],
)  # fmt: skip
def test_figures_have_three_digits(value: float | None, shown: str) -> None:
    assert figure(value) == shown


def test_a_loss_has_four() -> None:
    assert figure(2.302585, 4) == "2.303"


def test_any_figure_of_what_evidence_may_hold() -> None:
    assert any_figure([1, 2.0, None]) == "1, 2, –"
    assert any_figure(tuple(range(20))).endswith("10, 11, … (20 in all)")
    assert any_figure(True) == "yes"
    assert any_figure({"a": 1e-9}) == "a: 1e-9"


def test_printable_spells_out_what_would_move_the_cursor_or_the_reader() -> None:
    assert printable("a\x1b[31m\u202eb\nc\u2028d") == "a\\x1b[31m\\u202eb c\\u2028d"


@given(st.text())
def test_printable_leaves_nothing_that_controls(text: str) -> None:
    shown = printable(text)
    assert printable(shown) == shown
    assert not {"\x1b", "\n"} & set(shown)


def test_verdict_without_findings() -> None:
    assert verdict([]) == "No problem found"


positive = st.floats(min_value=1e-300, max_value=1e300)


@given(st.lists(positive, min_size=1, max_size=20))
def test_the_scale_keeps_order_and_stays_on_the_meter(values: list[float]) -> None:
    scale = LogScale.of(values)
    shares = [scale.position(value) for value in sorted(values)]
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)
    assert 4 <= scale.decades <= 24
    assert 2 <= len(scale.ticks()) <= 5


@pytest.mark.parametrize("values", [[], [None], [0.0], [math.nan], [math.inf], [-1.0]])
def test_a_scale_of_nothing(values: list[float | None]) -> None:
    scale = LogScale.of(values)
    assert (scale.low, scale.high) == (-2, 2)
    assert [scale.position(v) for v in values] == [1.0 if v == math.inf else 0.0 for v in values]


def test_a_steady_network_does_not_look_dramatic() -> None:
    scale = LogScale.of([0.9, 1.1])
    assert abs(scale.position(0.9) - scale.position(1.1)) < 0.03


def test_powers_of_ten() -> None:
    assert [power_of_ten(e) for e in (-8, 0, 1, 12)] == ["10⁻⁸", "1", "10", "10¹²"]
    assert power_of_ten(-8, ascii_only=True) == "1e-8"
