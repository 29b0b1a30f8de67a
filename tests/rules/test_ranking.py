"""Cause before consequence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.rules import RULES, ranked
from gainstage.rules.base import Finding

BY_CODE = {rule.code: rule for rule in RULES}


def finding(code: str, severity: str | None = None) -> Finding:
    rule = BY_CODE[code]
    return Finding(code, rule.name, severity or rule.severities[0], rule.cause, "", "")  # type: ignore[arg-type]


def test_a_cause_of_lower_severity_stands_before_its_grave_consequence() -> None:
    result = ranked([finding("INI002"), finding("GRD001", "error")], BY_CODE)

    assert [(f.code, f.consequence_of) for f in result] == [("INI002", None), ("GRD001", "INI002")]


def test_the_group_with_the_gravest_member_comes_first() -> None:
    result = ranked([finding("NRM004"), finding("NRM003"), finding("INI002"), finding("INI003", "error")], BY_CODE)

    assert [f.code for f in result] == ["INI002", "INI003", "NRM003", "NRM004"]


def test_consequences_of_consequences_point_to_the_root() -> None:
    result = ranked([finding("DAT001"), finding("INI003"), finding("GRD001")], BY_CODE)

    assert {f.consequence_of for f in result[1:]} == {"DAT001"}


def test_what_is_only_worth_knowing_explains_nothing() -> None:
    result = ranked([finding("ACT004", "info"), finding("GRD001", "error")], BY_CODE)

    assert {f.code: f.consequence_of for f in result} == {"GRD001": None, "ACT004": None}


def test_the_rules_explain_each_other_without_circles() -> None:
    def reachable(code: str, seen: tuple[str, ...] = ()) -> None:
        assert code not in seen, seen
        for other in BY_CODE[code].explains if code in BY_CODE else ():
            reachable(other, (*seen, code))

    for code in BY_CODE:
        reachable(code)


@given(st.lists(st.sampled_from([rule.code for rule in RULES]), unique=True), st.randoms())
def test_nothing_is_lost_and_every_consequence_follows_its_root(codes: list[str], order: object) -> None:
    result = ranked([finding(code) for code in codes], BY_CODE)

    assert sorted(f.code for f in result) == sorted(codes)
    for position, f in enumerate(result):
        if f.consequence_of is not None:
            assert f.consequence_of in [other.code for other in result[:position]]


def test_a_rule_without_a_whole_page_cannot_be_defined() -> None:
    from gainstage.rules.base import rule

    def incomplete(trace):
        """Only a summary."""
        yield from ()

    with pytest.raises(ValueError, match=r"XXX001.*must have the sections"):
        rule("XXX001", "x", severities=("info",), cause="init", bad="", good="")(incomplete)
