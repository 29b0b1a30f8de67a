import pytest
import torch
import torch.nn.functional as F

from gainstage.lab.apparatus.networks import mlp
from gainstage.lab.measurements.normalization.sgd_noise_bound import batches, gradients
from gainstage.seeding import preserved_rng


@pytest.mark.parametrize(("draw", "count"), [("with", 6**2), ("without", 15), ("one class", 2 * 3)])
def test_every_batch_is_there_and_every_sample_equally_often(draw, count):
    found = batches(draw, 2, 3, 2)
    assert len(found) == count
    assert len(set(torch.bincount(found.flatten()).tolist())) == 1


def test_a_batch_of_one_class_has_one():
    assert bool((batches("one class", 2, 3, 2) // 3).diff(dim=1).eq(0).all())


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_gradients_are_those_of_backward(norm):
    with preserved_rng(0):
        model = mlp(2, 8, norm=norm, inputs=5, classes=3).double()
        inputs, targets = torch.randn(4, 5, dtype=torch.float64), torch.randint(3, (4,))
    found = gradients(model, inputs, targets, torch.tensor([[0, 3], [1, 1]]))
    F.cross_entropy(model(inputs[[0, 3]]), targets[[0, 3]]).backward()
    torch.testing.assert_close(found[0], torch.cat([value.grad.flatten() for value in model.parameters()]))


@pytest.mark.parametrize(("draw", "expected"), [("with", 1.0), ("without", 2 / 3)])
def test_the_ratio_is_that_of_the_sampling(smoke_rows, draw, expected):
    # closed_form: 1 with replacement, (N - B)/(N - 1) without; N = 4 and B = 2 in the smoke design
    rows = [row for row in smoke_rows("sgd-noise-bound") if row["draw"] == draw and row["norm"] == "none"]
    assert [row["ratio"] for row in rows] == pytest.approx([expected] * len(rows), abs=1e-9)
