from __future__ import annotations

import json

import jsonschema

from gainstage.report.rules_json import rules_json, schema_text, shipped_schema
from gainstage.rules import RULES


def test_json_follows_the_shipped_schema() -> None:
    document = json.loads(rules_json(RULES))
    jsonschema.Draft202012Validator.check_schema(json.loads(shipped_schema()))
    jsonschema.validate(document, json.loads(shipped_schema()))
    assert document["schema_version"] == 1


def test_every_rule_has_what_settings_and_dashboards_need() -> None:
    entries = json.loads(rules_json(RULES))["rules"]
    assert len(entries) == len(RULES)
    for entry, rule in zip(entries, RULES, strict=True):
        assert (entry["code"], entry["name"], entry["cause"]) == (rule.code, rule.name, rule.cause)
        assert tuple(entry["severities"]) == rule.severities
        assert [t["value"] for t in entry["thresholds"]] == [t.value for t in rule.thresholds]


def test_the_shipped_schema_is_the_generated_one() -> None:
    assert shipped_schema() == schema_text()
