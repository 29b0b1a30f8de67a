"""The benchmark from end to end, at a size at which its figures mean nothing."""

from __future__ import annotations

import json
from pathlib import Path

from accuracy.__main__ import main
from accuracy.cases import QUICK, Case
from accuracy.checks import Alarm
from accuracy.page import figures_json
from accuracy.scoring import Outcome

from gainstage.rules.accuracy import Accuracy, parsed


def test_quick_run_trains_checks_and_writes_a_page(tmp_path: Path) -> None:
    main([str(tmp_path), "--quick", "--split", "development"])
    text = (tmp_path / "accuracy.md").read_text()
    assert "development, with a trial" in text
    assert "Not checked yet: the test split" in text
    measured = (tmp_path / "labels.jsonl").read_text(), (tmp_path / "trials.jsonl").read_text()
    main([str(tmp_path), "--quick", "--split", "development"])
    assert measured == ((tmp_path / "labels.jsonl").read_text(), (tmp_path / "trials.jsonl").read_text())
    assert text == (tmp_path / "accuracy.md").read_text()


def test_figures_that_ship_are_read_back() -> None:
    fault = Outcome(Case("test", "mixer", "gain-up", "gross"), 0, "fault", (Alarm("INI002", "INI002"),))
    document = json.loads(figures_json([fault], QUICK))
    assert parsed(document) == {"INI002": Accuracy(alarms=1, right_alarms=1, faults=1, found_faults=1)}
