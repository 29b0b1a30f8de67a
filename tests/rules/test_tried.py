"""What a trial decides: suspicions that a run without them bears out, and predictions that it refutes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.diagnosis.suspicions import suspicions
from gainstage.diagnosis.trial import short_trial
from gainstage.rules import RULES
from gainstage.rules.base import Finding
from gainstage.rules.tried import PREDICTIONS, far_behind, relief, weighed
from gainstage.trace.records import Trace
from gainstage.trace.training_records import EvaluationRecord, StepRecord, TrialRecord, VariantRecord
from zoo.fingerprint import unchanged

GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(640, 16, generator=GENERATOR)
LABELS = (INPUTS @ torch.randn(16, 4, generator=GENERATOR)).argmax(1)
VALUES = (INPUTS @ torch.randn(16, 1, generator=GENERATOR)).tanh()
# Two heaps far apart, which any network learns.
EASY = torch.arange(640) % 2
HEAPS = INPUTS + 4 * EASY[:, None] - 2
Batches = list[tuple[torch.Tensor, torch.Tensor]]


def batches(inputs: torch.Tensor, targets: torch.Tensor, size: int = 32) -> Batches:
    return list(zip(inputs.split(size), targets.split(size), strict=True))


def network(outputs: int = 4, share: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Dropout(share), nn.Linear(64, 64), nn.ReLU(),
                         nn.Dropout(share), nn.Linear(64, outputs))  # fmt: skip


def checked(model: nn.Module, data: Batches, steps: int = 200, loss: object = None, **adam: float) -> gs.Report:
    optimizer = torch.optim.Adam(model.parameters(), **{"lr": 1e-3, **adam})
    with unchanged(model, data[0], optimizer):
        return gs.check(model, data, loss, optimizer=optimizer, steps=steps)


def warned(report: gs.Report) -> list[str]:
    return [finding.code for finding in report.findings if finding.severity != "info"]


SETTINGS = {
    "sound": (network(), batches(INPUTS, LABELS), None, {}, ""),
    "dropout": (network(share=0.8), batches(INPUTS, LABELS), None, {}, "ACT005"),
    "decay": (network(), batches(INPUTS, LABELS), None, {"weight_decay": 0.1}, "OPT007"),
    "inputs": (network(), batches(INPUTS * 0.05, LABELS), None, {}, "DAT001"),
    "targets": (network(1), batches(INPUTS, 40 + 10 * VALUES), nn.MSELoss(), {}, "DAT003"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_suspicion_is_borne_out_by_a_run_without_it(name: str) -> None:
    model, data, loss, options, code = SETTINGS[name]
    report = checked(model, data, loss=loss, **options)

    assert warned(report)[:1] == ([code] if code else [])
    if code:
        assert "A trial of 200 steps ends" in report.findings[0].message or "ends a trial" in report.findings[0].message
    if code and code != "OPT007":  # whose pull is seen without a trial, too
        assert code not in warned(checked(model, data, steps=0, loss=loss, **options))


@pytest.mark.parametrize("name", SETTINGS)
def test_only_what_is_doubtful_is_run_without(name: str) -> None:
    model, data, loss, options, _ = SETTINGS[name]
    subject = gs.Subject(model, data, loss, torch.optim.Adam(model.parameters(), lr=1e-3, **options))
    expected = {"sound": (), "decay": ("weight_decay",)}.get(name, (name,))

    assert suspicions(gs.record(subject)) == expected


def test_what_does_no_harm_is_not_said() -> None:
    report = checked(network(share=0.6), batches(INPUTS, LABELS), lr=1e-2)
    assert report.trace.trial is not None
    # A rate of 0.01 moves these weights so far that it is tried at a tenth as well.
    assert [variant.change for variant in report.trace.trial.variants] == ["lr", "dropout"]
    assert warned(report) == []


def test_the_last_fifth_is_held_out_and_of_few_batches_none() -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    many = short_trial(gs.Subject(model, batches(INPUTS, LABELS), optimizer=optimizer), 100).evaluation
    few = short_trial(gs.Subject(model, batches(INPUTS[:96], LABELS[:96]), optimizer=optimizer), 100).evaluation

    assert many is not None
    assert few is not None
    assert (many.batches, many.unseen) == (4, True)
    assert (few.batches, few.unseen) == (3, False)
    assert many.in_eval == pytest.approx(many.in_train)


@pytest.mark.parametrize(("rate", "expected"), [(1e-2, "info"), (1e-5, "error")])
def test_a_prediction_is_refuted_where_the_network_learns(rate: float, expected: str) -> None:
    model, data = network(2), batches(HEAPS, EASY)
    held = [parameter for name, parameter in model.named_parameters() if name != "3.weight"]
    optimizer = torch.optim.Adam(held, lr=rate)
    alone = gs.check(model, data, optimizer=optimizer, select="OPT006")
    tried = gs.check(model, data, optimizer=optimizer, steps=200, select="OPT006")

    assert [(f.code, f.severity) for f in alone.findings] == [("OPT006", "error")]
    assert [(f.code, f.severity) for f in tried.findings] == [("OPT006", expected)]
    learned = "learns all the same: on 4 batches that it was not trained on" in tried.findings[0].message
    assert learned is (expected == "info")


@pytest.mark.parametrize(("scale", "expected"), [(0.003, "warning"), (1.0, "info")])
def test_a_head_alone_is_trained_on_purpose_unless_a_trial_ends_far_better(scale: float, expected: str) -> None:
    model = network()
    with torch.no_grad():
        model[0].weight.mul_(scale * 1.5)  # off what any scheme draws, as training leaves weights
        model[0].bias.fill_(0.1)
    head = [*model[3].parameters(), *model[6].parameters()]
    optimizer = torch.optim.Adam(head, lr=3e-3)
    alone = gs.check(model, batches(INPUTS, LABELS), optimizer=optimizer, select="OPT006")
    tried = gs.check(model, batches(INPUTS, LABELS), optimizer=optimizer, steps=200, select="OPT006")

    assert [(f.code, f.severity) for f in alone.findings] == [("OPT006", "info")]
    assert [(f.code, f.severity) for f in tried.findings] == [("OPT006", expected)]
    assert ("with all of them" in tried.findings[0].message) is (expected == "warning")


STEP = StepRecord(loss=2.0, loss_after=1.9, zero_loss=2.3, constant_loss=2.0)
FINDING = Finding("INI002", "gain-mismatch", "warning", "init", "", "Wide.")


def weighed_by(in_eval: float, finding: Finding = FINDING, *, unseen: bool = True, step: StepRecord = STEP) -> str:
    trial = TrialRecord(200, (2.2, 0.1), evaluation=EvaluationRecord(4, unseen, in_eval, in_eval))
    return weighed([finding], Trace((), 2.0, step=step, trial=trial))[0].severity


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (weighed_by(0.1), "info"),
        (weighed_by(0.19), "warning"),  # of the best constant answer's 2.0
        (weighed_by(0.1, unseen=False), "warning"),
        (weighed_by(-5.0), "warning"),
        (weighed_by(math.nan), "warning"),
        (weighed_by(0.1, step=replace(STEP, constant_loss=None)), "warning"),
        (weighed_by(0.1, replace(FINDING, code="DAT002")), "warning"),
        (weighed_by(0.1, replace(FINDING, code="OPT006", severity="error")), "info"),
        (weighed_by(0.1, replace(FINDING, code="OPT006", severity="error", evidence={"kind": "unlisted"})), "error"),
    ],
)
def test_what_refutes_and_what_does_not(said: str, expected: str) -> None:
    assert said == expected


def test_predictions_are_rules() -> None:
    assert {rule.code for rule in RULES} >= PREDICTIONS


def test_a_relief_is_told_by_what_was_held_out() -> None:
    variant = VariantRecord("dropout", 0.0, 1e-3, end=0.5, in_eval=0.3)
    held_out = TrialRecord(200, (1.0,), variants=(variant,), evaluation=EvaluationRecord(4, True, 0.9, 1.0))
    few = TrialRecord(200, (1.0,), variants=(replace(variant, in_eval=None),))

    assert held_out.relief("dropout") == (0.9, 0.3)
    # Without dropout the data that are trained on are always learned better.
    assert few.relief("dropout") is None
    assert few.relief("inputs") is None
    decay = replace(variant, change="weight_decay", in_eval=None)
    assert replace(few, variants=(decay,)).relief("weight_decay") == (1.0, 0.5)
    assert TrialRecord(200, (-1.5,), variants=(replace(decay, end=-1.6),)).relief("weight_decay") is None


def test_nan_among_what_is_held_out() -> None:
    data = batches(INPUTS, LABELS)
    data[-1] = (data[-1][0].clone().index_fill_(0, torch.tensor([3]), math.nan), data[-1][1])
    report = checked(network(), data, lr=1e-2)

    assert warned(report) == ["NUM001"]
    assert "batch 19" in report.findings[0].message


def test_a_gradient_that_is_infinite_on_another_batch_is_not_laid_to_the_rate() -> None:
    class Distance(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(8, 16)

        def forward(self, pairs: torch.Tensor) -> torch.Tensor:
            left, right = self.body(pairs[:, :8]), self.body(pairs[:, 8:])
            return (left - right).square().sum(1, keepdim=True).sqrt()

    torch.manual_seed(0)
    data = batches(INPUTS.clone(), VALUES)
    data[5][0][0, 8:] = data[5][0][0, :8]
    report = checked(Distance(), data, loss=nn.MSELoss())

    assert warned(report)[0] == "NUM001"
    assert "(batch 5)" in report.findings[0].message


class Waves(nn.Module):
    """Reads signals of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv1d(4, 8, 3), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.convolution(x).relu().mean(2))


class Pair(NamedTuple):
    """A batch with names."""

    x: torch.Tensor
    y: torch.Tensor


def trialled(model: nn.Module, data: list[Any], loss: object = None) -> gs.Report:
    return gs.check(model, data, loss, optimizer=torch.optim.SGD(model.parameters(), lr=1e-2), steps=100)


def test_what_cannot_be_standardised_is_not() -> None:
    ragged = [(5 + torch.randn(16, 4, 20 + length), torch.arange(16) % 4) for length in range(12)]
    named = [Pair(5 + torch.randn(16, 16), torch.arange(16) % 4) for _ in range(12)]
    itself = [{"x": 5 + torch.randn(16, 16)} for _ in range(12)]

    class Rebuilt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": (self.body(x) - x).square().mean()}

    for model, data in ((Waves(), ragged), (network(), named), (Rebuilt(), itself)):
        trial = trialled(model, data).trace.trial
        assert trial is not None
        assert not trial.reason
        assert "inputs" not in [variant.change for variant in trial.variants]


def test_a_breakdown_with_sparse_gradients() -> None:
    model = nn.Sequential(nn.EmbeddingBag(16, 8, sparse=True), nn.Linear(8, 1))
    data = [(torch.randint(16, (16, 4)), torch.randn(16, 1) * 1e6) for _ in range(12)]
    report = gs.check(model, data, nn.MSELoss(), optimizer=torch.optim.SGD(model.parameters(), lr=1e3), steps=100)
    assert report.trace.trial is not None
    assert math.isinf(report.trace.trial.end)


def test_what_was_trained_on_is_not_held_out() -> None:
    ends = [
        trialled(network(), data).trace.trial for data in (batches(INPUTS, LABELS)[:1] * 12, batches(INPUTS, LABELS))
    ]
    assert [end is not None and end.evaluation is not None and end.evaluation.unseen for end in ends] == [False, True]


def test_under_a_schedule_nothing_is_tried() -> None:
    model = network(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 1000)
    report = gs.check(model, batches(INPUTS, 40 + 12 * VALUES), nn.MSELoss(), optimizer=optimizer, steps=100)
    assert report.trace.trial is not None
    assert report.trace.trial.variants == ()


def test_another_answer_in_eval_mode_is_not_the_norms() -> None:
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x) if self.training else self.body(x).softmax(-1)

    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    report = gs.check(model, batches(HEAPS, EASY), optimizer=optimizer, steps=200)
    assert report.trace.trial is not None
    assert report.trace.trial.evaluation is not None
    assert report.trace.trial.evaluation.in_eval > 3 * report.trace.trial.evaluation.in_train
    assert warned(report) == []


MENDED = VariantRecord("weights", 1.0, 1e-3, end=0.5, in_eval=0.5)


@pytest.mark.parametrize(
    ("in_eval", "code", "expected"),
    [(0.5, "INI002", "info"), (0.9, "INI002", "warning"), (0.5, "DAT001", "warning"), (0.5, "ACT004", "warning")],
)
def test_a_finding_that_its_own_remedy_does_not_help(in_eval: float, code: str, expected: str) -> None:
    trial = TrialRecord(200, (2.2, 0.5), variants=(MENDED,), evaluation=EvaluationRecord(4, True, in_eval, in_eval))
    (found,) = weighed([replace(FINDING, code=code)], Trace((), 2.0, step=STEP, trial=trial))
    assert found.severity == expected
    assert ("ends no better with the weights drawn anew" in found.message) is (expected == "info")


def test_what_was_found_is_mended_once_beside_the_trial() -> None:
    model = network()
    with torch.no_grad():
        for place in (0, 3, 6):
            model[place].weight.mul_(20)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with unchanged(model, (INPUTS[:32], LABELS[:32]), optimizer):
        report = gs.check(model, batches(INPUTS, LABELS), optimizer=optimizer, steps=100)

    assert report.trace.trial is not None
    assert [variant.change for variant in report.trace.trial.variants if variant.change != "lr"] == ["weights"]


def test_what_follows_from_what_is_refuted_falls_with_it() -> None:
    trial = TrialRecord(200, (2.2, 0.5), variants=(MENDED,), evaluation=EvaluationRecord(4, True, 0.5, 0.5))
    follows = replace(FINDING, code="GRD002", consequence_of="INI002")
    alone = replace(FINDING, code="GRD002")
    trace = Trace((), 2.0, step=STEP, trial=trial)

    assert [f.severity for f in weighed([FINDING, follows], trace)] == ["info", "info"]
    assert [f.severity for f in weighed([FINDING, alone], trace)] == ["info", "warning"]


@pytest.mark.parametrize(("steps", "expected"), [(0, "info"), (200, "warning")])
def test_a_trunk_that_is_frozen_as_it_was_drawn_is_tried_thawed(steps: int, expected: str) -> None:
    model = network()
    for place in (0, 3):
        model[place].requires_grad_(False)
    optimizer = torch.optim.Adam(model[6].parameters(), lr=1e-2)
    with unchanged(model, (INPUTS[:32], LABELS[:32]), optimizer):
        report = gs.check(model, batches(INPUTS, LABELS), optimizer=optimizer, steps=steps, select="GRD003")

    assert [finding.severity for finding in report.findings] == [expected]
    assert ("with nothing frozen at" in report.findings[0].message) is (expected == "warning")
    assert not model[0].weight.requires_grad


@pytest.mark.parametrize(("in_eval", "expected"), [(1e-3, "info"), (0.1, "warning")])
def test_a_fit_of_all_that_there_is(in_eval: float, expected: str) -> None:
    assert weighed_by(in_eval, unseen=False) == expected


@pytest.mark.parametrize(("as_it_is", "expected"), [(0.8, True), (0.6, False)])
def test_what_one_pass_does_not_show_has_to_have_cost_something(as_it_is: float, expected: bool) -> None:
    assert far_behind(Trace((), 2.0, step=STEP, trial=TrialRecord(200, (2.2, 0.1))), (as_it_is, 0.1)) is expected


@pytest.mark.parametrize(("without", "expected"), [(0.7, True), (1.9, False)])
def test_no_relief_where_nothing_is_learned_either_way(without: float, expected: bool) -> None:
    variant = VariantRecord("inputs", 1.0, 1e-3, without, without)
    trial = TrialRecord(200, (6.0, 6.0), variants=(variant,), evaluation=EvaluationRecord(4, True, 6.0, 6.0))
    found = relief(Trace((), 2.0, step=STEP, trial=trial), "inputs")
    assert (found is not None) is expected
