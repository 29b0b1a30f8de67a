"""Gradient noise: closed forms, unbiased over draws, and batch norm for what it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from gainstage.errors import InputError, SubjectError
from gainstage.landscape import Objective, gradient_noise
from gainstage.landscape.folds import Folds
from gainstage.landscape.samples import coupling, part_of, permutation, sample_gradients
from gainstage.trace import Subject
from landscape.quadratics import Vector, normalized


def network(*layers: nn.Module, n: int = 24, batches: int = 2, seed: int = 0) -> Subject:
    made = torch.Generator().manual_seed(seed)
    model = nn.Sequential(*layers).double()
    data = [
        (torch.randn(n, 5, generator=made).double(), torch.randint(3, (n,), generator=made)) for _ in range(batches)
    ]
    return Subject(model, data)


def plain(**options: int) -> Subject:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return network(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3), **options)


def rows_of(subject: Subject) -> torch.Tensor:
    found = []
    for x, t in subject.batches:
        for i in range(len(x)):
            loss = nn.functional.cross_entropy(subject.model(x[i : i + 1]), t[i : i + 1])
            found.append(
                torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(subject.model.parameters()))])
            )
    return torch.stack(found)


def test_per_sample_estimates_are_those_of_a_loop() -> None:
    given = plain()
    found = gradient_noise(given)
    rows = rows_of(given)
    k, mean = len(rows), rows.mean(0)
    trace = float((rows - mean).square().sum()) / (k - 1)
    square = float(mean.square().sum()) - trace / k
    assert found.method == "per-sample"
    assert found.coupling < 1e-10
    (estimate,) = found.estimates
    assert (estimate.group_size, estimate.groups, found.samples) == (1, 48, 48)
    assert estimate.trace == pytest.approx(trace)
    assert estimate.gradient_square == pytest.approx(square)
    assert estimate.noise_scale is not None
    assert estimate.noise_scale.mean == pytest.approx(trace / square)
    assert estimate.noise_scale.low < trace / square < estimate.noise_scale.high
    assert sum(layer.trace for layer in estimate.layers) == pytest.approx(trace)
    first = rows[:, :36]
    assert estimate.layers[0].name == "0"
    assert estimate.layers[0].trace == pytest.approx(float((first - first.mean(0)).square().sum()) / (k - 1))


def test_two_batch_sizes_as_in_mccandlish() -> None:
    given = plain(batches=1)
    (estimate,) = gradient_noise(given, sizes=[3]).estimates
    objective = Objective(given)
    batch = objective.batches[0]
    small = [objective.gradient(part_of(batch, picks))[1] for picks in permutation(batch, 0).split(3)]
    big = objective.gradient(objective.batches[0])[1]
    b, n = 3, 24
    mean_small = float(np.mean([float(g.square().sum()) for g in small]))
    whole = float(big.square().sum())
    assert estimate.gradient_square == pytest.approx((n * whole - b * mean_small) / (n - b))
    assert estimate.trace == pytest.approx((mean_small - whole) / (1 / b - 1 / n))


def test_estimates_are_unbiased() -> None:
    # One weight, gradients x_i: their mean is 1 and their variance 4.
    draws = np.random.default_rng(0)
    squares, traces = [], []
    for _ in range(24):
        x = torch.tensor(1.0 + 2.0 * draws.standard_normal((16, 1)))
        model = nn.Linear(1, 1, bias=False).double()
        (estimate,) = gradient_noise(model, x, forward_mean, sizes=[2]).estimates
        squares.append(estimate.gradient_square)
        traces.append(estimate.trace)
    for values, truth in ((squares, 1.0), (traces, 4.0)):
        assert abs(float(np.mean(values)) - truth) < 4 * float(np.std(values)) / math.sqrt(len(values))


def forward_mean(outputs: torch.Tensor, _: object) -> torch.Tensor:
    return outputs.mean()


def test_the_interval_covers() -> None:
    draws = np.random.default_rng(1)
    covered = 0
    for _ in range(30):
        x = torch.tensor(1.0 + draws.standard_normal((64, 1)))
        model = nn.Linear(1, 1, bias=False).double()
        scale = gradient_noise(model, x, forward_mean).estimates[0].noise_scale
        assert scale is not None
        covered += scale.low <= 1.0 <= scale.high
    assert covered >= 25  # of 30; 28.5 are to be expected


def test_vmap_and_loop_agree() -> None:
    given = plain(batches=1)
    objective = Objective(given)
    (fast,) = list(sample_gradients(objective, objective.batches[0]))
    torch.testing.assert_close(fast, rows_of(given), rtol=1e-10, atol=1e-12)


def test_a_model_that_vmap_refuses_is_looped() -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.map(x) if x.sum().item() > 0 else self.map(2 * x)

    objective = Objective(network(Looks(), n=6))
    (rows,) = list(sample_gradients(objective, objective.batches[0]))
    expected = objective.gradient(part_of(objective.batches[0], torch.tensor([4])))[1]
    assert torch.equal(rows[4], expected)


def test_batch_norm_in_train_mode_has_no_per_sample_gradients() -> None:
    found = gradient_noise(normalized())
    assert found.method == "microbatches"
    assert found.coupling > 0.01
    assert [estimate.group_size for estimate in found.estimates] == [4, 8]
    assert [estimate.groups for estimate in found.estimates] == [16, 8]
    assert "depend on each other" in found.note


def test_and_has_them_in_eval_mode() -> None:
    found = gradient_noise(normalized(), norms="eval")
    assert found.method == "per-sample"
    assert found.coupling < 1e-10


def test_dropout_is_no_coupling() -> None:
    found = gradient_noise(network(nn.Linear(5, 6), nn.Dropout(0.5), nn.Linear(6, 3)))
    assert found.method == "per-sample"


def test_dropout_inside_of_attention_is_no_coupling_either() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5, batch_first=True), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.layer(x).mean(1))

    found = gradient_noise(Attends(), (torch.randn(8, 3, 4), torch.randint(3, (8,))))
    assert found.method == "per-sample"
    assert found.coupling < 1e-5


def test_layer_norm_is_no_coupling_and_batch_of_dicts_is_split() -> None:
    class Takes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map, self.norm = nn.Linear(5, 3), nn.LayerNorm(3)

        def forward(self, values: torch.Tensor, scale: float, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            y = self.norm(self.map(values * scale))
            return {"loss": nn.functional.cross_entropy(y, labels), "logits": y}

    batch = {"values": torch.randn(12, 5), "scale": 2.0, "labels": torch.randint(3, (12,))}
    found = gradient_noise(Takes(), batch)
    assert found.method == "per-sample"
    assert found.estimates[0].groups == 12


def test_a_sum_over_samples_has_the_noise_of_its_mean() -> None:
    given = plain()
    mean = gradient_noise(given)
    total = gradient_noise(given.replace(loss=nn.CrossEntropyLoss(reduction="sum")))
    assert "sum over samples" in total.note
    assert total.estimates[0].trace == pytest.approx(mean.estimates[0].trace)
    micro = gradient_noise(given.replace(loss=nn.CrossEntropyLoss(reduction="sum")), sizes=[4])
    assert micro.estimates[0].trace == pytest.approx(gradient_noise(given, sizes=[4]).estimates[0].trace)


def test_no_noise_no_gradient_and_nothing_finite() -> None:
    same = gradient_noise(nn.Linear(1, 1, bias=False), torch.ones(8, 1), forward_mean).estimates[0]
    assert same.noise_scale is not None
    assert same.noise_scale.mean == same.trace == 0.0
    nothing = gradient_noise(nn.Linear(1, 1, bias=False), torch.zeros(8, 1), forward_mean).estimates[0]
    assert nothing.noise_scale is None
    assert nothing.layers[0].signal_to_noise is None
    pure = torch.tensor([[1.0], [-1.0]] * 8)
    drowned = gradient_noise(nn.Linear(1, 1, bias=False), pure, forward_mean).estimates[0]
    assert drowned.noise_scale is not None
    assert drowned.noise_scale.mean == drowned.noise_scale.high == math.inf
    assert drowned.gradient_square < 0
    one_bad = torch.ones(8, 1).cumsum(0)
    one_bad[3] = math.nan
    found = gradient_noise(nn.Linear(1, 1, bias=False), one_bad, forward_mean)
    assert found.non_finite == 1
    assert found.estimates[0].groups == 7
    assert "1 groups without a finite gradient" in found.note
    with pytest.raises(SubjectError, match="at least two samples must have finite gradients"):
        gradient_noise(nn.Linear(1, 1, bias=False), torch.full((4, 1), math.nan), forward_mean)


def test_what_cannot_be_used_is_said() -> None:
    with pytest.raises(InputError, match="count must be at least 1, got 0"):
        gradient_noise(plain(), count=0)
    with pytest.raises(InputError, match="leave two groups, got 40 with batches of 24, 24 samples"):
        gradient_noise(plain(), sizes=[40])
    with pytest.raises(SubjectError, match="must hold a tensor with a dimension of samples"):
        gradient_noise(nn.Linear(1, 1), torch.tensor(1.0))
    with pytest.raises(SubjectError, match="must be differentiable"):
        gradient_noise(nn.Linear(2, 1), torch.ones(4, 3), forward_mean)


def test_a_parameter_that_no_layer_reads_counts_as_well() -> None:
    x = torch.arange(1.0, 9).reshape(8, 1)
    given = Subject(Vector(torch.ones(1)), x, forward=lambda model, batch: (model.w * batch).mean())
    (estimate,) = gradient_noise(given).estimates
    assert [layer.name for layer in estimate.layers] == ["(other)"]
    assert estimate.trace == pytest.approx(float(x.var()))


def test_two_gradients_have_no_interval() -> None:
    objective = Objective(plain())
    folds = Folds(objective, {"all": objective.names})
    folds.add(torch.stack([torch.ones(objective.size), 2 * torch.ones(objective.size)]))
    interval = folds.signal_interval(1)
    assert (interval.low, interval.high) == (-math.inf, math.inf)


def test_coupling_of_one_sample_is_none() -> None:
    assert coupling(Objective(plain(n=1)), plain(n=1).batches.first(), 0).distance == 0.0


class Dropped(nn.Module):
    """The sum of weights of which dropout leaves one half, doubled: each has variance 1 and mean 1."""

    def __init__(self, *, vectorised: bool) -> None:
        super().__init__()
        self.weight, self.vectorised = nn.Parameter(torch.ones(32)), vectorised

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = 2 * torch.bernoulli(torch.full_like(x, 0.5)) if self.training else torch.ones_like(x)
        if not self.vectorised:
            float(x.sum())  # a value that is read, which vmap refuses
        return (x * mask * self.weight).sum(1)


@pytest.mark.parametrize(("sizes", "vectorised"), [(None, True), (None, False), ((1, 4), True)])
def test_dropout_is_noise_of_every_group_whatever_the_way(sizes: tuple[int, ...] | None, *, vectorised: bool) -> None:
    batches = [(torch.ones(64, 32), torch.zeros(64))] * 4
    found = gradient_noise(Dropped(vectorised=vectorised), batches, lambda y, _: y.mean(), sizes=sizes)
    for estimate in found.estimates:
        # tr Σ has a relative variance of 2/(32 (k - 1)), ‖G‖² of 4 tr Σ/(b k ‖G‖²) and less: four deviations.
        assert estimate.trace == pytest.approx(32, rel=4 * (2 / (32 * (estimate.groups - 1))) ** 0.5)
        assert estimate.gradient_square == pytest.approx(32, rel=4 * (4 / 32 / 256 * 32) ** 0.5)


def test_batches_do_not_share_their_dropout() -> None:
    batches = [(torch.ones(2, 32), torch.zeros(2))] * 64
    (found,) = gradient_noise(Dropped(vectorised=True), batches, lambda y, _: y.mean(), count=64).estimates
    assert found.trace == pytest.approx(32, rel=4 * (2 / (32 * 127)) ** 0.5)


def test_attention_is_vectorised_without_a_warning() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.mix(x, x, x, need_weights=False)[0].mean(1))

    objective = Objective(Subject(Attention(), (torch.randn(6, 4, 8), torch.zeros(6).long())))
    batch = objective.batches[0]
    (rows,) = sample_gradients(objective, batch)
    assert objective.cost.gradients == 1  # no loop; a warning would be an error here, and lead to one
    torch.testing.assert_close(rows[2], objective.gradient(part_of(batch, torch.tensor([2])))[1])


def test_no_sizes_at_all_are_refused() -> None:
    with pytest.raises(InputError, match="sizes must hold at least one size, got none"):
        gradient_noise(plain(), sizes=())
