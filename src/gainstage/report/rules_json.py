"""The rules as JSON, and the JSON Schema of that, generated from the same record.

python -m gainstage.report.rules_json > src/gainstage/report/schemas/rules.schema.json
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

import msgspec

from gainstage.rules.accuracy import measured
from gainstage.rules.base import Cause, Rule, Severity, Status
from gainstage.version import __version__

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ThresholdDocument:
    """A limit, with its unit and where it comes from."""

    name: str
    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class AccuracyDocument:
    """Counts on networks that no threshold was set on; a share is null where there is nothing to share.

    ``alarms`` are networks that the rule warned of, ``right_alarms`` those that train worse than their healthy twins;
    ``faults`` are networks with a fault of its page that train worse, ``found_faults`` those whose cause was named.
    """

    precision: float | None
    recall: float | None
    alarms: int
    right_alarms: int
    faults: int
    found_faults: int


@dataclass(frozen=True)
class RuleDocument:
    """A rule; ``severities`` gravest first, ``explains`` the codes of its consequences.

    ``accuracy`` is null where it was not measured; ``preview`` is a rule whose limits may move.
    """

    code: str
    name: str
    severities: tuple[Severity, ...]
    cause: Cause
    summary: str
    thresholds: tuple[ThresholdDocument, ...]
    claims: tuple[str, ...]
    explains: tuple[str, ...]
    accuracy: AccuracyDocument | None = None
    status: Status = "stable"


@dataclass(frozen=True)
class RulesDocument:
    """All rules in the order of the catalogue."""

    schema_version: int
    gainstage_version: str
    rules: tuple[RuleDocument, ...]


def rules_json(rules: Iterable[Rule]) -> str:
    """The rules as indented JSON."""
    entries = tuple(
        RuleDocument(
            rule.code, rule.name, rule.severities, rule.cause, rule.summary,
            tuple(ThresholdDocument(t.name, t.value, t.unit, t.source) for t in rule.thresholds),
            rule.claims, rule.explains, _accuracy(rule), rule.status,
        )
        for rule in rules
    )  # fmt: skip
    document = RulesDocument(SCHEMA_VERSION, __version__, entries)
    return json.dumps(asdict(document), ensure_ascii=False, indent=2, allow_nan=False)


def _accuracy(rule: Rule) -> AccuracyDocument | None:
    counts = measured().get(rule.code)
    if counts is None:
        return None
    return AccuracyDocument(
        counts.precision, counts.recall, counts.alarms, counts.right_alarms, counts.faults, counts.found_faults
    )


def schema_text() -> str:
    """The JSON Schema (draft 2020-12) of `rules_json`, as it is shipped."""
    generated = msgspec.json.schema(RulesDocument)
    generated["$defs"]["RulesDocument"]["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    heading: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "gainstage rules"}
    return json.dumps({**heading, **generated}, ensure_ascii=False, indent=2) + "\n"


def shipped_schema() -> str:
    """The schema file of this installation."""
    return (resources.files("gainstage.report") / "schemas" / "rules.schema.json").read_text(encoding="utf-8")


if __name__ == "__main__":
    print(schema_text(), end="")
