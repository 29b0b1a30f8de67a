"""GRD003 and OPT006: what is cut off by mistake, and what is apart on purpose."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gainstage as gs
from gainstage.diagnosis.check import DEFECT

Operation = Callable[[torch.Tensor], torch.Tensor]
BATCH = torch.randn(64, 16), torch.randint(3, (64,))


class Apply(nn.Module):
    def __init__(self, operation: Operation) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.operation(x)


def mlp(middle: Operation | None = None, end: Operation | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.Tanh(), *([Apply(middle)] if middle else [])]
    layers += [nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3), *([Apply(end)] if end else [])]
    return nn.Sequential(*layers)


def spoken(code: str, model: nn.Module | gs.Subject, loss: object = None, optimizer: object = None) -> list[str]:
    batch = None if isinstance(model, gs.Subject) else BATCH
    return [f.severity for f in gs.check(model, batch, loss, select=code, optimizer=optimizer).findings]


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        (None, []),
        (torch.Tensor.detach, ["warning"]),
        (torch.sign, ["warning"]),
        (torch.round, ["warning"]),
        (lambda x: x + (x.sign() - x).detach(), []),
    ],
)
def test_a_gradient_that_stops_on_the_way(middle: Operation | None, expected: list[str]) -> None:
    assert spoken("GRD003", mlp(middle)) == expected


def test_the_message_names_the_layer_and_the_operation() -> None:
    (finding,) = gs.check(mlp(torch.sign), BATCH, select="GRD003").findings

    assert finding.evidence == {"kind": "zero", "behind": "2", "ops": ["sign"]}
    assert finding.layers == ("0", "2")


@pytest.mark.parametrize("end", [torch.Tensor.detach, lambda x: x.argmax(1, keepdim=True).float().expand(-1, 3)])
def test_a_loss_without_a_gradient_is_an_error(end: Operation) -> None:
    assert spoken("GRD003", mlp(end=end), nn.CrossEntropyLoss()) == ["error"]


class Probe(nn.Module):
    """A head on a trunk that runs without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.head = mlp(), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            features = self.trunk(x)
        return self.head(features)


def test_a_trunk_under_no_grad_is_worth_knowing_only() -> None:
    assert spoken("GRD003", Probe()) == ["info"]


def test_what_the_optimizer_does_not_hold_is_not_meant_to_have_a_gradient() -> None:
    model = mlp(torch.Tensor.detach)
    assert spoken("GRD003", model, optimizer=torch.optim.SGD(model[5:].parameters(), lr=0.1)) == []


class Lora(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base, self.down, self.up = nn.Linear(16, 3), nn.Linear(16, 4, bias=False), nn.Linear(4, 3, bias=False)
        self.base.requires_grad_(False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.up(self.down(x))


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.experts, self.gate = nn.ModuleList([nn.Linear(16, 3) for _ in range(4)]), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, chosen = self.gate(x).softmax(-1)[:, :2].max(-1)  # two of the four are never chosen
        out = x.new_zeros(len(x), 3)
        for index, expert in enumerate(self.experts):
            rows = chosen == index
            if rows.any():
                out[rows] = weight[rows, None] * expert(x[rows])
        return out


class ZeroGamma(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(16, 16), nn.Linear(16, 16), nn.BatchNorm1d(16)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.norm(self.second(F.relu(self.first(x))))


def zero_head() -> nn.Module:
    model = mlp()
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    return model


@pytest.mark.parametrize(
    ("build", "most"),
    [
        (Lora, []), (Experts, ["info"]), (zero_head, []), (lambda: mlp().requires_grad_(False), []),
        (lambda: nn.Sequential(*[ZeroGamma() for _ in range(3)], nn.Linear(16, 3)), []),
    ],
)  # fmt: skip
def test_parts_that_are_idle_on_purpose(build: Callable[[], nn.Module], most: list[str]) -> None:
    assert spoken("GRD003", build()) == most


class Gan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.make = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
        self.judge = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))

    def judge_step(self, x: torch.Tensor) -> torch.Tensor:
        return F.softplus(self.judge(self.make(x).detach())).mean() + F.softplus(-self.judge(x)).mean()

    def make_step(self, x: torch.Tensor) -> torch.Tensor:
        return F.softplus(-self.judge(self.make(x))).mean()


def test_the_two_steps_of_a_gan() -> None:
    gan = Gan()
    judging = gs.Subject(gan, BATCH, forward=lambda model, batch: model.judge_step(batch[0]))
    making = gs.Subject(gan, BATCH, forward=lambda model, batch: model.make_step(batch[0]))
    assert spoken("GRD003", judging) == ["info"]
    assert spoken("GRD003", judging, optimizer=torch.optim.Adam(gan.judge.parameters())) == []
    assert spoken("OPT006", making, optimizer=torch.optim.Adam(gan.make.parameters())) == ["info"]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (lambda m: list(m.parameters()), []),
        (lambda m: list(m[:-1].parameters()), ["error"]),  # without the read-out
        (lambda m: list(m[0].parameters()), ["error"]),
        (lambda m: [*m[0].parameters(), *m[-1].parameters()], ["error"]),  # without the middle
        (lambda m: list(mlp().parameters()), ["error"]),  # another model's
        (lambda m: [*m.parameters(), nn.Parameter(torch.zeros(1))], []),  # and one of the loss
        (lambda m: list(m[4:].parameters()), ["warning"]),  # a head on a trunk as it was drawn
        (lambda m: [m[0].weight.data.mul_(0.3)] and list(m[4:].parameters()), ["info"]),  # on a trained one
        (lambda m: [p for p in m.parameters() if p.ndim > 1], ["info"]),  # as Muon wants it
        (lambda m: [p for p in m.parameters() if p.ndim == 1], ["info"]),
    ],
)
def test_what_an_optimizer_holds(held: Callable[[nn.Sequential], list[nn.Parameter]], expected: list[str]) -> None:
    model = mlp()
    assert spoken("OPT006", model, optimizer=torch.optim.SGD(held(model), lr=0.1)) == expected


def test_copies_of_half_precision_weights_are_held_on_purpose() -> None:
    model = mlp().bfloat16()
    copies = [nn.Parameter(parameter.detach().float()) for parameter in model.parameters()]
    subject = gs.Subject(model, (BATCH[0].bfloat16(), BATCH[1]), optimizer=torch.optim.SGD(copies, lr=0.1))
    assert spoken("OPT006", subject) == ["info"]


def test_not_assessed_without_what_it_needs() -> None:
    codes = {entry.code for entry in gs.check(mlp(), BATCH, select="OPT006").not_assessed}
    assert codes == {"OPT006"}


class Mistaken(nn.Module):
    """Computes a second layer, and reads something else."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.second, self.last, self.how = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 3), how

    def forward(self, x: torch.Tensor) -> object:
        hidden = torch.relu(self.first(x))
        more = torch.relu(self.second(hidden))
        if self.how == "returned":
            return {"logits": self.last(hidden), "more": more}
        if self.how == "argmax":
            return self.last(F.one_hot(self.second(x).argmax(1), 16).float() + 0 * x)
        return self.last(more if self.how == "read" else hidden)


@pytest.mark.parametrize(
    ("how", "expected"), [("overlooked", ["warning"]), ("returned", ["info"]), ("read", []), ("argmax", ["warning"])]
)
def test_what_is_computed_and_goes_nowhere(how: str, expected: list[str]) -> None:
    assert spoken("GRD003", Mistaken(how)) == expected


class Hidden(nn.Module):
    """Keeps a layer where `named_parameters` does not look."""

    def __init__(self, layer: nn.Module, *, grad: bool = True) -> None:
        super().__init__()
        self.layers, self.last, self.grad = [layer], nn.Linear(16, 3), grad

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.set_grad_enabled(self.grad and torch.is_grad_enabled()):
            hidden = self.layers[0](x)
        return self.last(torch.relu(hidden))


@pytest.mark.parametrize("layer", [nn.Linear(16, 16), nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 16, bias=False))])
@pytest.mark.parametrize("optimized", [False, True])
def test_layers_in_a_list_are_no_parameters(layer: nn.Module, optimized: bool) -> None:
    model = Hidden(layer)
    options = {"optimizer": torch.optim.SGD(model.parameters(), lr=0.1)} if optimized else {}
    report = gs.check(model, BATCH, select="OPT006", **options)
    assert [f.severity for f in report.findings] == ["error"]
    assert "does not list" in report.findings[0].message
    assert f"{sum(1 for _ in layer.parameters())} parameters" in report.findings[0].message


def test_a_layer_that_is_made_while_the_model_runs() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.Linear(16, 3)(torch.relu(self.first(x)))

    assert spoken("OPT006", Forgetful()) == ["error"]


def test_what_is_kept_in_a_list_on_purpose() -> None:
    frozen = nn.Linear(16, 16).requires_grad_(False)
    assert spoken("OPT006", Hidden(frozen)) == []
    assert spoken("OPT006", Hidden(nn.Linear(16, 16), grad=False)) == []
    held = Hidden(nn.Linear(16, 16))
    everything = [*held.parameters(), *held.layers[0].parameters()]
    assert spoken("OPT006", held, optimizer=torch.optim.SGD(everything, lr=0.1)) == []


def test_a_loss_may_have_parameters_of_its_own() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(outputs * self.scale, targets)

    assert spoken("OPT006", gs.Subject(mlp(), BATCH, Weighted())) == []


def test_parameters_that_stand_in_for_the_model_s() -> None:
    class Stateless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            fast = {name: 0.9 * parameter for name, parameter in self.net.named_parameters()}
            return torch.func.functional_call(self.net, fast, (x,))

    assert spoken("OPT006", Stateless()) == []


class Attending(nn.Module):
    """A weighted mean over places, whose weights are a softmax over some dimension."""

    def __init__(self, dim: int, keys: int = 1) -> None:
        super().__init__()
        self.values, self.scores, self.out, self.dim = nn.Linear(8, 16), nn.Linear(8, keys), nn.Linear(16, 3), dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = torch.softmax(self.scores(x), self.dim)
        return self.out((weights.sum(-1, keepdim=True) * self.values(x)).mean(1))


@pytest.mark.parametrize(
    ("dim", "places", "keys", "expected"), [(-1, 5, 1, ["warning"]), (1, 5, 1, []), (-1, 1, 1, []), (-1, 5, 4, [])]
)
def test_a_softmax_over_one_score(dim: int, places: int, keys: int, expected: list[str]) -> None:
    batch = torch.randn(16, places, 8), torch.randint(3, (16,))
    findings = gs.check(Attending(dim, keys), batch, select="GRD003").findings

    assert [f.severity for f in findings if f.evidence.get("kind") == "constant"] == expected


class Skips(nn.Module):
    """A stream of residual maps of which only what leaves it sideways is read, as in WaveNet."""

    def __init__(self, *, listed: bool) -> None:
        super().__init__()
        maps = [nn.Linear(16, 16) for _ in range(3)]
        self.residual = nn.ModuleList(maps) if listed else maps
        if not listed:
            self.first, self.second, self.third = maps
        self.skips, self.out = nn.ModuleList(nn.Linear(16, 8) for _ in range(3)), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(())
        for residual, skip in zip(self.residual, self.skips, strict=True):
            total = total + skip(torch.tanh(x))
            x = x + residual(torch.tanh(x))
        return self.out(total)


@pytest.mark.parametrize(("listed", "expected"), [(True, ["info"]), (False, ["warning"])])
def test_the_last_of_a_list_may_go_nowhere(listed: bool, expected: list[str]) -> None:
    assert spoken("GRD003", Skips(listed=listed)) == expected


class Overwritten(nn.Module):
    """A loop over layers that reads the same input each time, or the one before's output."""

    def __init__(self, *, chained: bool) -> None:
        super().__init__()
        self.layers, self.head = nn.ModuleList(nn.Linear(16, 16) for _ in range(4)), nn.Linear(16, 3)
        self.chained = chained

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = x
        for layer in self.layers:
            hidden = layer(hidden if self.chained else x).relu()
        return self.head(hidden)


@pytest.mark.parametrize(("chained", "expected"), [(True, []), (False, ["warning"])])
def test_a_loop_that_forgets_its_layers(chained: bool, expected: list[str]) -> None:
    report = gs.check(Overwritten(chained=chained), (torch.randn(32, 16), torch.arange(32) % 3), select="GRD003")
    assert [f.severity for f in report.findings] == expected


class Coupling(nn.Module):
    """Shifts one half by what a map of zeros makes of the other, as flows start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, 16), nn.Tanh(), nn.Linear(16, width))
        nn.init.zeros_(self.net[2].weight)
        nn.init.zeros_(self.net[2].bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, 1)
        return torch.cat([right + self.net(left), left], 1)


def test_maps_that_start_at_zero_hold_the_gradient_back_and_do_not_let_it_vanish() -> None:
    model = nn.Sequential(*[Coupling(4) for _ in range(4)])
    report = gs.check(model, (torch.randn(64, 8), torch.zeros(64, 8)), nn.MSELoss(), select="GRD001")
    assert report.findings == ()


class Sequences(nn.Module):
    """A recurrent or attending trunk over steps, and a head."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk, self.head = trunk, nn.Linear(32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.trunk(x)
        return self.head((hidden[0] if isinstance(hidden, tuple) else hidden)[:, -1])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN, nn.TransformerEncoderLayer])
def test_trunks_that_the_optimizer_lacks(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    trunk = kind(32, 4, 64, batch_first=True) if kind is nn.TransformerEncoderLayer else kind(32, 32, batch_first=True)
    model, batch = Sequences(trunk), (torch.randn(32, 10, 32), torch.arange(32) % 3)

    def severity() -> str:
        optimizer = torch.optim.Adam(model.head.parameters())
        return gs.check(model, batch, optimizer=optimizer, select="OPT006").findings[0].severity

    assert severity() == "warning"
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()
    assert severity() == "info"


class Waves(nn.Module):
    """Layers of two maps each, one for the stream and one for the outputs: the last one's stream goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleDict({"stream": nn.Linear(16, 16), "skip": nn.Linear(16, 3)}) for _ in range(3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = x.new_zeros(len(x), 3)
        for layer in self.layers:
            outputs = outputs + layer["skip"](x.tanh())
            x = x + layer["stream"](x.tanh())
        return outputs


def test_the_last_stream_of_a_list_of_blocks_may_go_nowhere() -> None:
    report = gs.check(Waves(), (torch.randn(32, 16), torch.arange(32) % 3), select="GRD003")
    assert [f.severity for f in report.findings] == ["info"]


class Towers(nn.Module):
    """Rates pairs by their embeddings, which go through an array or not."""

    def __init__(self, through_array: bool) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(20, 8), nn.Embedding(30, 8)
        self.head, self.through_array = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1)), through_array

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        pairs = torch.cat([self.users(users), self.items(items)], 1)
        if self.through_array:
            pairs = torch.from_numpy(pairs.detach().numpy())
        return self.head(pairs)


@pytest.mark.parametrize(("through_array", "expected"), [(True, ["warning"]), (False, [])])
def test_embeddings_that_go_through_an_array(through_array: bool, expected: list[str]) -> None:
    batch = torch.randint(20, (64,)), torch.randint(30, (64,)), torch.randn(64, 1)
    assert [f.severity for f in gs.check(Towers(through_array), batch, select="GRD003").findings] == expected


def test_a_gradient_that_is_no_number_is_not_said_to_be_missing() -> None:
    def distance(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs - outputs.detach()).square().sum(1).sqrt().mean() + 0 * targets.sum()

    report = gs.check(nn.Linear(8, 4), (torch.randn(16, 8), torch.randn(16, 4)), distance)
    assert report.findings[0].code == "NUM001"
    assert "GRD003" not in [finding.code for finding in report.findings]


class Watched(nn.Module):
    """Looks at an embedding on the way, and reads another."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.watched, self.head = nn.Embedding(20, 8), nn.Embedding(20, 8), nn.Linear(8, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.level = float(self.watched(tokens).detach().norm())
        return self.head(self.read(tokens))


def test_an_embedding_may_be_looked_up_for_another_end() -> None:
    report = gs.check(Watched(), (torch.randint(20, (64,)), torch.arange(64) % 3), select="GRD003")
    assert [finding.severity for finding in report.findings] == ["info"]


class Scaled(nn.Module):
    """A factor, which is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


def test_every_rule_judges_a_model_without_layers() -> None:
    report = gs.check(Scaled(), (torch.randn(32, 4), torch.randn(32, 4)), nn.MSELoss())
    assert not report.trace.layers
    assert not [entry for entry in report.not_assessed if DEFECT in entry.reason]


class Rounds(nn.Module):
    """Rounds of messages that move places, too; those of the last round are not read."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds = nn.ModuleList(
            nn.ModuleList([nn.Sequential(nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 16)), nn.Linear(16, 16)])
            for _ in range(2)
        )
        self.last = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = x
        for move, mix in self.rounds:
            state = state + torch.relu(mix(x))
            x = x + move(x)
        return self.last(state)


def test_the_last_round_of_several_may_end_early() -> None:
    assert spoken("GRD003", Rounds()) == ["info"]
