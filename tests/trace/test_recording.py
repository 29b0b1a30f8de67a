"""What a recording says, held to what autograd and plain arithmetic say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import MODELS, Residual, images, vectors
from torch import nn

import gainstage as gs
from gainstage.trace.records import LayerRecord


def by_name(trace: gs.Trace) -> dict[str, LayerRecord]:
    return {layer.name: layer for layer in trace.layers}


def rms(tensor: torch.Tensor) -> float:
    return float((tensor.detach().double() ** 2).mean().sqrt())


@pytest.mark.parametrize("inplace", [False, True])
def test_levels_and_gradients_are_those_of_autograd_also_before_an_in_place_activation(inplace: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace), nn.Flatten(), nn.Linear(144, 3))
    inputs, targets = images()
    layers = by_name(gs.record(model, (inputs, targets)))

    kept: list[torch.Tensor] = [inputs]
    for index, module in enumerate(model):
        # The functional form keeps what the in-place one overwrites.
        kept.append(F.relu(kept[-1]) if index == 2 else module(kept[-1]))
        kept[-1].retain_grad()
    F.cross_entropy(kept[-1], targets).backward()

    for index in (0, 1, 2, 4):
        found, expected = layers[str(index)], kept[index + 1]
        assert found.rms == pytest.approx(rms(expected), rel=1e-5)
        assert found.std == pytest.approx(float(expected.detach().double().std(correction=0)), rel=1e-5)
        assert found.grad_rms == pytest.approx(rms(expected.grad), rel=1e-5)
        assert found.grad_max_abs == pytest.approx(float(expected.grad.abs().max()), rel=1e-6)
        assert found.shape == tuple(expected.shape)
    assert layers["0"].weight_rms == pytest.approx(rms(model[0].weight), rel=1e-5)
    assert layers["0"].weight_grad_rms == pytest.approx(rms(model[0].weight.grad), rel=1e-4)
    assert layers["4"].input_rms == pytest.approx(rms(kept[4]), rel=1e-5)
    assert layers["1"].channel_std == pytest.approx(
        float(kept[2].detach().double().var((0, 2, 3), correction=0).mean().sqrt()), rel=1e-5
    )


def test_names_kinds_and_what_follows_what() -> None:
    trace = gs.record(Residual(), images())
    layers = trace.layers
    found = [(layer.name, layer.kind, layer.op, [layers[i].name for i in layer.inputs]) for layer in layers]

    assert found == [
        ("conv1", "conv", "conv2d", []),
        ("bn1", "norm", "batch_norm", ["conv1"]),
        (":relu", "activation", "relu", ["bn1"]),
        ("conv2", "conv", "conv2d", [":relu"]),
        ("bn2", "norm", "batch_norm", ["conv2"]),
        (":add", "other", "add", ["bn2"]),
        (":relu#2", "activation", "relu", [":add"]),
        ("head", "linear", "linear", [":relu#2"]),
    ]
    assert layers[-1].via == ("max_pool2d",)
    assert (layers[3].fan_in, layers[3].fan_out) == (9, 9)
    assert trace.loss_record is not None
    assert trace.loss_record.input == len(layers) - 1
    assert trace.loss_record.ops == ("log_softmax", "nll_loss")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_of_two_dimensions_is_in_the_trace(name: str) -> None:
    torch.manual_seed(0)
    model, batch = MODELS[name]()
    trace = gs.record(model, batch)
    seen = {parameter for layer in trace.layers for parameter in layer.parameters}
    used = {p.name for p in trace.parameters if len(p.shape) >= 2 and not p.name.startswith("idle")}

    assert used <= seen
    assert {layer.name for layer in trace.layers if layer.parameters} or name == "no parameters"
    assert len({layer.name for layer in trace.layers}) == len(trace.layers)


def test_a_second_call_is_a_second_record() -> None:
    names = [layer.name for layer in gs.record(*MODELS["looped"]()).layers]
    assert names[:6] == ["inner", ":tanh", "inner#2", ":tanh#2", "inner#3", ":tanh#3"]


def test_a_cell_that_runs_for_ever_is_capped_and_said() -> None:
    class Long(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(40):
                x = torch.tanh(self.inner(x))
            return x

    trace = gs.record(Long(), vectors())
    assert sum(layer.module == "inner" for layer in trace.layers) == 16
    assert any("inner: only its first 16 calls" in line for line in trace.skipped)
    assert any(":tanh: only its first 16 calls" in line for line in trace.skipped)


def test_a_deep_network_in_one_function_is_recorded_whole() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(40))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                x = x + torch.relu(layer(x))
            return x

    trace = gs.record(Deep(), vectors()[0])
    assert [layer.op for layer in trace.layers] == ["linear", "relu", "add"] * 40
    assert len(trace.residuals) == 40
    assert not trace.skipped


def test_parametrized_weights_are_named_after_their_owner_with_the_effective_weight() -> None:
    torch.manual_seed(0)
    model, batch = MODELS["parametrized"]()
    layers = by_name(gs.record(model, batch))

    assert [layer.name for layer in layers.values() if layer.kind == "linear"] == ["0", "2"]
    assert layers["2"].weight_rms == pytest.approx(rms(model[2].weight), rel=1e-4)


def test_dropout_is_seen_between_layers() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
    assert gs.record(model, vectors()).layers[-1].via == ("dropout",)


def test_a_linear_layer_on_sequences_has_the_shape_that_users_know() -> None:
    model = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
    trace = gs.record(model, (torch.randn(3, 7, 8), torch.randn(3, 7, 2)))
    assert [layer.shape for layer in trace.layers] == [(3, 7, 5), (3, 7, 5), (3, 7, 2)]


def test_facts_of_batch_norm() -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    batch = (torch.randn(50, 8) * 10, torch.randint(3, (50,)))
    for _ in range(3):
        model(batch[0])
    fresh = by_name(gs.record(model, batch))["1"].norm
    frozen = by_name(gs.record(model.eval(), batch))["1"].norm

    assert fresh is not None
    assert frozen is not None
    assert (fresh.type, fresh.values_per_statistic, fresh.updates, fresh.uses_batch_statistics) == (
        "batch",
        50,
        3,
        True,
    )
    assert (frozen.updates, frozen.uses_batch_statistics) == (3, False)
    x = model[0](batch[0]).detach()
    expected = (x.var(0, correction=0) / model[1].running_var).log().mean().exp()
    assert frozen.batch_scale_ratio == pytest.approx(float(expected), rel=1e-4)


def test_saturated_and_dead_units() -> None:
    model = nn.Sequential(nn.Linear(8, 100), nn.Tanh(), nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 3))
    nn.init.normal_(model[0].weight, std=3.0)
    model[2].weight.data[:20] = 0
    model[2].bias.data[:20] = -1
    inputs, targets = torch.randn(200, 8), torch.randint(3, (200,))
    layers = by_name(gs.record(model, (inputs, targets)))

    hidden = model[0](inputs).tanh()
    assert layers["1"].saturated_fraction == pytest.approx(float((1 - hidden**2 < 0.05).float().mean()), abs=1e-4)
    assert layers["3"].dead_fraction == pytest.approx(0.4, abs=0.05)
    assert layers["2"].dead_gradient_fraction == layers["3"].dead_fraction


@pytest.mark.parametrize(
    ("batches", "loss_name"),
    [
        (lambda x, y: (x, y), "cross_entropy"),
        (lambda x, y: [(x, y), (x, y)], "cross_entropy"),
        (lambda x, y: [[x, y]], "cross_entropy"),
        (lambda x, y: iter([(x, y)]), "cross_entropy"),
        (lambda x, y: torch.utils.data.DataLoader(list(zip(x, y, strict=True)), batch_size=12), "cross_entropy"),
        (lambda x, _: (x, torch.randn(12, 3)), "mse_loss"),
        (lambda x, _: (x, torch.randn(36)), "mse_loss"),
        (lambda x, _: x, "surrogate"),
        (lambda x, _: [[x]], "surrogate"),
        (lambda x, y: ({"input": x}, y), "cross_entropy"),
        (lambda x, y: ((x,), y), "cross_entropy"),
        (lambda x, y: {"input": x, "labels": y}, "cross_entropy"),
    ],
)
def test_batches_of_every_form(batches: Any, loss_name: str) -> None:
    class Model(nn.Linear):
        def forward(self, input: torch.Tensor, labels: Any = None) -> torch.Tensor:
            return super().forward(input)

    subject = gs.Subject(Model(8, 3), batches(*vectors()))
    trace = gs.record(subject)

    assert trace.loss_record is not None
    assert (trace.loss_record.name, trace.loss_record.chosen) == (loss_name, True)
    assert trace.layers[-1].grad_rms is not None
    assert gs.record(subject) == trace


def test_own_loss_forward_and_given_loss() -> None:
    model, batch = MODELS["own loss"]()
    own = gs.record(model, batch)
    assert own.loss_record is not None
    assert own.loss_record.name == "model"
    assert own.loss_record.ops == ("log_softmax", "nll_loss")
    subject = gs.Subject(model, batch, forward=lambda m, b: m(**b)["loss"])
    assert gs.record(subject).loss == own.loss
    given = gs.record(nn.Linear(8, 3), vectors(), nn.CrossEntropyLoss())
    assert given.loss_record is not None
    assert (given.loss_record.name, given.loss_record.chosen) == ("CrossEntropyLoss", False)


def test_without_a_backward_pass() -> None:
    trace = gs.record(nn.Linear(8, 3), vectors(), backward=False)
    assert trace.layers[0].grad_rms is None
    assert trace.layers[0].rms is not None


class Named(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.before, self.block, self.after = nn.Linear(8, 8), Inner(function), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.block(self.before(x)))


class Inner(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *x: torch.Tensor) -> torch.Tensor:
        return self.function(*x)


@pytest.mark.parametrize(
    ("function", "op", "phase"),
    [
        (torch.log, "log", "forward"),
        (lambda x: (x - x) / (x - x), "div", "forward"),
        (lambda x: (x * 1e30) * 1e30, "mul", "forward"),
        (lambda x: x.relu().sqrt(), "sqrt|div", "backward"),
    ],
)
def test_the_operation_that_produced_the_first_non_finite_value(function: Any, op: str, phase: str) -> None:
    torch.manual_seed(0)
    found = gs.record(Named(function), vectors()).first_non_finite

    assert found is not None
    assert found.phase == phase
    assert any(name in found.op for name in op.split("|")), found.op
    if phase == "forward":
        assert found.module == "block"


def test_non_finite_inputs_and_parameters_are_named_as_such() -> None:
    model, (inputs, targets) = nn.Linear(8, 3), vectors()
    inputs[0, 0] = float("nan")
    found = gs.record(model, (inputs, targets)).first_non_finite
    assert (found.phase, found.op, found.count) == ("input", "inputs", 1)
    model.weight.data[0, 0] = float("inf")
    found = gs.record(model, vectors()).first_non_finite
    assert (found.phase, found.op) == ("parameter", "weight")


def test_masks_of_minus_infinity_are_no_fault() -> None:
    assert gs.record(*MODELS["attention"]()).first_non_finite is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_json_is_lossless(name: str) -> None:
    trace = gs.record(*MODELS[name]())
    assert gs.Trace.from_json(trace.to_json()) == trace
    assert all(set(row) == set(trace.to_rows()[0]) | set(row) for row in trace.to_rows())


def test_json_of_a_loss_that_is_not_a_number_and_of_a_module_called_nan() -> None:
    model = nn.Sequential()
    model.add_module("NaN", Named(torch.log))
    trace = gs.record(model, vectors())
    text = trace.to_json()
    again = gs.Trace.from_json(text)

    assert trace.loss != trace.loss
    assert again.loss != again.loss
    assert again.layers == trace.layers
    assert again.layers[0].name.startswith("NaN")


def test_a_trace_of_a_deep_model_is_small_and_its_rows_feed_a_table() -> None:
    blocks = [layer for _ in range(250) for layer in (nn.Linear(8, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 8))]
    trace = gs.record(nn.Sequential(*blocks, nn.Linear(8, 3)), vectors())
    assert sum(layer.kind == "linear" for layer in trace.layers) == 501
    text = trace.to_json()
    assert len(text.encode()) < 1_000_000
    assert gs.Trace.from_json(text) == trace
    rows = trace.to_rows()
    assert len(rows) == len(trace.layers)
    assert all(row.keys() >= rows[0].keys() for row in rows)
    assert {type(value) for row in rows for value in row.values()} <= {int, float, str, bool, list, type(None)}


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "text must be JSON"), ("[]", "schema_version must be 1, got None"),
     ('{"schema_version": 99}', "schema_version must be 1, got 99"), ('{"schema_version": 1}', "not a valid record"),
     ('{"schema_version":1,"loss":1.0,"layers":{"count":2,"same":{},"columns":{"name":["a"]}}}', "different lengths")],
)  # fmt: skip
def test_what_is_no_trace_is_refused(text: str, message: str) -> None:
    with pytest.raises(gs.GainstageError, match=message):
        gs.Trace.from_json(text)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("gradients", [True, False])
def test_a_recurrent_layer_of_which_only_the_last_state_is_used(kind: type[nn.RNNBase], gradients: bool) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.rnn, self.out = nn.Embedding(20, 8), kind(8, 16, batch_first=True), nn.Linear(16, 1)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            state = self.rnn(self.embedding(tokens))[1]
            return self.out((state[0] if isinstance(state, tuple) else state)[-1])

    model = Reader()
    model.embedding.requires_grad_(gradients)
    batch = torch.randint(20, (32, 10)), torch.rand(32, 1).round()
    trace = gs.record(model, batch, nn.BCEWithLogitsLoss())

    assert {parameter.grad_rms is None for parameter in trace.parameters if parameter.name.startswith("rnn")} == {False}


def test_tensors_before_the_last_are_inputs() -> None:
    model = Inner(lambda users, items: users * items)
    users, items, targets = torch.randn(8, 3), torch.randn(8, 3), torch.randn(8, 3)
    assert gs.record(model, (users, items, targets)).loss == gs.record(model, ((users, items), targets)).loss


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gs.record(nn.Linear(4, 3), vectors()), r"the model must accept the batch.*operation .*\(12, 8\)"),
        (lambda: gs.record(nn.Linear(8, 3), vectors(), lambda o, t: o), r"loss must return a scalar tensor.*\(12, 3\)"),
        (lambda: gs.record(nn.Linear(8, 3), (vectors()[0], torch.tensor([3]))), "the loss must accept"),
        (lambda: gs.record(nn.Linear(8, 3)), "batches must be given with a model"),
        (lambda: gs.record(nn.Linear(8, 3), []), "batches must hold at least one batch"),
        (lambda: gs.record(nn.Linear(8, 3), 3), "batches must be a batch or a series of batches, got int"),
        (lambda: gs.record(nn.Linear(8, 3), (1, 2, 3)), "a batch must be .* got tuple of 3"),
        (lambda: gs.Subject(nn.Linear, vectors()), r"model must be a torch.nn.Module, got type|got Linear \(a class\)"),
        (lambda: gs.Subject(nn.Linear(8, 3), vectors(), optimizer="adam"), "optimizer must be a built"),
        (lambda: gs.record(Inner(lambda x: "text"), vectors()), "output must hold a tensor, got str"),
    ],
)
def test_errors_say_what_where_and_how_to_mend(call: Any, message: str) -> None:
    with pytest.raises(gs.GainstageError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
