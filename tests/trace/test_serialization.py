"""What is None is left out of JSON, so every field that may be None must have None as its default."""

import dataclasses
import types
import typing

import pytest

from gainstage.lab.hearing import Hearing
from gainstage.lab.verdict import Verdict
from gainstage.trace.records import Trace


def records(kind, seen):
    """All record types that a field of this type may hold."""
    if dataclasses.is_dataclass(kind) and kind not in seen:
        seen.add(kind)
        for hint in typing.get_type_hints(kind).values():
            records(hint, seen)
    for part in typing.get_args(kind):
        records(part, seen)
    return seen


@pytest.mark.parametrize("root", [Trace, Verdict, Hearing], ids=lambda kind: kind.__name__)
def test_a_field_that_may_be_none_has_none_by_default(root):
    kinds = records(root, set())
    assert root in kinds
    for kind in kinds:
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            hint = hints[field.name]
            optional = isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)
            assert not optional or field.default is None, f"{kind.__name__}.{field.name}"
