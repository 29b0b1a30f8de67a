"""DAT006: reshapes that are taken for transpositions, and reshapes whose sizes are the same by chance or on purpose."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.trace.reshapes import exchanged

LABELS = torch.arange(32) % 3
WINDOWS = torch.randn(32, 20, 6, generator=torch.Generator().manual_seed(0))
Layout = Callable[[torch.Tensor], torch.Tensor]


class Sensors(nn.Module):
    """Convolves windows of (samples, steps, sensors) over their steps, laid out so or so."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout, self.convolution, self.head = layout, nn.Conv1d(6, 16, 3), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.convolution(self.layout(x)).relu().mean(-1))


def spoken(model: nn.Module, inputs: torch.Tensor = WINDOWS) -> list[str]:
    return [finding.code for finding in gs.check(model, (inputs, LABELS), select="DAT006").findings]


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (lambda x: x.view(len(x), 6, 20), ["DAT006"]),
        (lambda x: x.reshape(-1, 6, 20), ["DAT006"]),
        (lambda x: (x + 0).unflatten(0, (-1,)).view(x.shape[0], x.shape[2], x.shape[1]), ["DAT006"]),
        (lambda x: x.transpose(1, 2), []),
        (lambda x: x.permute(0, 2, 1).contiguous().view(len(x), 6, 20), []),
        (lambda x: x.flatten(1).view(len(x), 20, 6).transpose(1, 2), []),
    ],
)
def test_views_and_transpositions(layout: Layout, expected: list[str]) -> None:
    assert spoken(Sensors(layout)) == expected


def test_where_it_is_and_of_what_shape() -> None:
    (finding,) = gs.check(Sensors(lambda x: x.view(len(x), 6, 20)), (WINDOWS, LABELS), select="DAT006").findings
    assert "32 x 20 x 6 is viewed as 32 x 6 x 20" in finding.message
    assert finding.evidence["reshapes"] == [["", (32, 20, 6), (32, 6, 20)]]


class Heads(nn.Module):
    """(steps, samples, 32) split into heads of 32 / ``heads`` features, as torch's attention does it."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads, self.inner, self.head = heads, nn.Linear(8, 256), nn.Linear(256, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inner(x).transpose(0, 1).contiguous()
        split = x.view(len(x), x.shape[1] * self.heads, 256 // self.heads).transpose(0, 1).relu()
        return self.head(split.transpose(0, 1).reshape(x.shape).mean(0))


def test_sizes_that_are_the_same_by_chance() -> None:
    # 32 samples of 256 features in 8 heads: 10 x 32 x 256 becomes 10 x 256 x 32, and with 31 samples it does not.
    inputs = torch.randn(32, 10, 8)
    model = Heads(8)
    assert gs.record(model, (inputs, LABELS)).reshapes
    assert spoken(model, inputs) == []


class Skewed(nn.Module):
    """Scores of relative positions, brought into line by padding a column and reading the rows anew."""

    def __init__(self) -> None:
        super().__init__()
        self.scores, self.head = nn.Linear(8, 14), nn.Linear(15, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.scores(x)
        padded = torch.cat([scores.new_zeros(*scores.shape[:2], 1), scores], -1)
        rows = padded.view(len(x), 15, x.shape[1])[:, 1:]
        return self.head(torch.cat([rows.mean(-1), scores[:, 0, :1]], -1))


class Turned(nn.Module):
    """The same without padding: read by columns, a row left out, and turned back."""

    def __init__(self) -> None:
        super().__init__()
        self.scores, self.head = nn.Linear(8, 14), nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.scores(x)
        rows = scores.reshape(len(x), 14, 10)[:, 1:]
        return self.head(rows.reshape(len(x), 10, 13).mean(-1))


@pytest.mark.parametrize("model", [Skewed(), Turned()])
def test_a_matrix_that_is_skewed_on_purpose(model: nn.Module) -> None:
    assert spoken(model, torch.randn(32, 10, 8)) == []


def test_a_model_for_one_size_of_batch_confirms_nothing() -> None:
    assert spoken(Sensors(lambda x: x.view(32, 6, 20))) == []


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((4, 5, 6), (4, 6, 5), True),
        ((4, 5, 1), (5, 4, 1), True),
        ((4, 5, 1), (4, 1, 5), False),
        ((4, 5, 5), (4, 5, 5), False),
        ((4, 6), (4, 2, 3), False),
        ((4, 5, 6), (20, 6), False),
        ((8, 8, 3), (3, 8, 8), True),
    ],
)
def test_sizes_of_a_transposed_tensor(before: tuple[int, ...], after: tuple[int, ...], expected: bool) -> None:
    assert exchanged(before, after) is expected


class Segmenting(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, classes, 1))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.body(pictures)


def cut(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs.contiguous().view(-1, outputs.shape[1]), targets.view(-1))


def moved(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs.permute(0, 2, 3, 1).reshape(-1, outputs.shape[1]), targets.view(-1))


@pytest.mark.parametrize(("loss", "expected"), [(cut, ["loss"]), (moved, []), (nn.CrossEntropyLoss(), [])])
def test_classes_that_the_loss_cuts_out_of_places(loss: Callable[..., torch.Tensor], expected: list[str]) -> None:
    batch = torch.randn(6, 1, 10, 12), torch.randint(3, (6, 10, 12))
    assert [f.cause for f in gs.check(Segmenting(3), batch, loss, select="DAT006").findings] == expected


def test_numbers_may_be_cut_like_their_targets() -> None:
    def squared(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(outputs.reshape(-1, 3), targets.reshape(-1, 3))

    batch = torch.randn(6, 1, 10, 12), torch.randn(6, 3, 10, 12)
    assert gs.check(Segmenting(3), batch, squared, select="DAT006").findings == ()


@pytest.mark.parametrize("flat", [lambda o: o.view(-1, 3), lambda o: o.flatten(1), lambda o: o.view(len(o), -1)])
def test_one_place_is_none_among_others(flat: Layout) -> None:
    model = nn.Sequential(Segmenting(3), nn.AdaptiveAvgPool2d(1))
    batch = torch.randn(6, 1, 10, 12), torch.randint(3, (6,))

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(flat(outputs), targets)

    assert gs.check(model, batch, loss, select="DAT006").findings == ()


class Fields(nn.Module):
    """Attention over eight fields of 16 features, in two heads that stand beside the samples."""

    def __init__(self, *, moved: bool) -> None:
        super().__init__()
        self.inner, self.head, self.moved = nn.Linear(16, 16), nn.Linear(8 * 16, 3), moved

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = self.inner(x)
        if self.moved:
            heads = q.view(len(x), 8, 2, 8).transpose(1, 2).reshape(len(x) * 2, 8, 8)
        else:
            heads = q.view(len(x) * 2, 8, 8)
        mixed = torch.softmax(heads @ heads.transpose(1, 2), -1) @ heads
        return self.head(mixed.reshape(len(x), -1))


@pytest.mark.parametrize(("moved", "expected"), [(False, ["DAT006"]), (True, [])])
def test_heads_that_are_cut_beside_the_samples(moved: bool, expected: list[str]) -> None:
    assert spoken(Fields(moved=moved), torch.randn(32, 8, 16)) == expected


@pytest.mark.parametrize(
    ("layout", "expected"),
    [(lambda x: x.view(20, len(x), 1), ["DAT006"]), (lambda x: x.t().reshape(20, len(x), 1), [])],
    ids=["viewed", "turned"],
)
def test_a_view_that_adds_a_dimension_of_one(layout: Layout, expected: list[str]) -> None:
    class Series(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(1, 8), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.rnn(layout(x))[0][-1])

    assert spoken(Series(), torch.randn(32, 20)) == expected


@pytest.mark.parametrize(("moved", "expected"), [(False, ["DAT006"]), (True, [])])
def test_classes_that_the_model_cuts_into_rows(moved: bool, expected: list[str]) -> None:
    class Places(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv1d(3, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = self.convolution(x)
            return (scores.transpose(1, 2).contiguous() if moved else scores).view(-1, 4)

    labels = torch.arange(12 * 10) % 4  # one below the other, ten for each sample
    found = gs.check(Places(), (torch.randn(12, 3, 10), labels), select="DAT006").findings
    assert [finding.code for finding in found] == expected
