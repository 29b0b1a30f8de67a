"""The programs of `make programs` are what their page takes them for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from programs.asked import Answer, Question, answer, answers, questions
from programs.collection import PAIRS, looked_at
from programs.page import page
from programs.pair import Pair, pair

from gainstage.rules import RULES

CAUSES = {rule.cause for rule in RULES}


def test_names_are_unique_and_causes_are_the_catalogues() -> None:
    assert len({entry.name for entry in PAIRS}) == len(PAIRS)
    assert {cause for entry in PAIRS for cause in entry.causes} <= CAUSES
    assert all(entry.why and entry.source for entry in PAIRS if entry.causes)
    assert {looked_at(entry) for entry in PAIRS} == {True, False}


# Every eighth: all of them are built by the benchmark.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", PAIRS[::8], ids=lambda entry: entry.name)
def test_programs_are_the_same_each_time_and_faulty_ones_are_others(entry: Pair) -> None:
    def facts(faulty: bool) -> list[torch.Tensor]:
        program = entry.make(faulty)
        held = [p for group in program.optimizer.param_groups for p in group["params"]]
        return [*program.model.state_dict().values(), *(t for batch in program.batches for t in batch), *held]

    first, again = facts(False), facts(False)
    assert len(first) == len(again)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    program = entry.make(False)
    *inputs, targets = program.batches[0]
    assert torch.isfinite(program.loss(program.model(*inputs), targets)).all()


def made(name: str, *causes: str) -> Pair:
    return Pair(name, PAIRS[0].make, causes, "It does not train", "symptom")


def test_the_page_counts_first_findings_and_false_alarms() -> None:
    pairs = (made("one", "init"), made("two", "loss", "activation"), made("three", "data"), made("alone"))
    right, wrong = Answer(("INI001", "GRD001"), ("init", "depth"), 0.5), Answer(("GRD001",), ("depth",), 0.5)
    found = {question: Answer(seconds=0.5) for question in questions(pairs)}
    for steps in (0, 200):
        found[Question("one", True, steps)] = right
        found[Question("two", True, steps)] = wrong
    found[Question("alone", False, 200)] = wrong
    text = page(pairs, found)

    assert "| init | 1 of 1 | 1 of 1 |" in text
    assert "| loss | 0 of 1 | 0 of 1 |" in text
    assert "- `two` (loss, activation): It does not train. without a trial: GRD001" in text
    assert "- `three` (data): It does not train. without a trial: nothing" in text
    assert "- `one`" not in text
    assert "- `alone`. without a trial: nothing; with a trial of 200 steps: GRD001." in text


def test_answers_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [Question(PAIRS[0].name, faulty, 0) for faulty in (True, False)]
    first = answers(asked, tmp_path / "answers.jsonl", 1)
    with (tmp_path / "answers.jsonl").open("a", encoding="utf-8") as file:
        file.write('[{"name": "cut o')
    further = Question(PAIRS[1].name, True, 0)
    monkeypatch.setattr("programs.asked.answer", lambda question: {further: Answer(("X",), ("loss",), 0.1)}[question])
    for _ in range(2):
        assert answers([*asked, further], tmp_path / "answers.jsonl", 1)[further].codes == ("X",)
    monkeypatch.setattr("programs.asked.answer", lambda _: pytest.fail("it is there"))
    assert answers([*asked, further], tmp_path / "answers.jsonl", 1) == {
        **first,
        further: Answer(("X",), ("loss",), 0.1),
    }
    assert first[asked[0]].causes[0] in PAIRS[0].causes
    assert first[asked[1]].codes == ()


def test_a_check_that_fails_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    @pair("loss", why="It raises", source="symptom")
    def broken(faulty: bool) -> None:
        raise AssertionError(faulty)

    monkeypatch.setattr("gainstage.check", lambda *_, **__: 1 / 0)
    assert broken.name == "test_programs/broken"
    assert answer(Question(PAIRS[0].name, True, 0)).raised == "ZeroDivisionError: division by zero"
