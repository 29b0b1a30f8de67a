import pytest
import torch

from gainstage.lab.apparatus.label_noise import mislabeled, small_mnist
from gainstage.sweep import Data


def plain(samples=1000):
    targets = torch.arange(samples) % 10
    inputs = torch.arange(samples, dtype=torch.float32)[:, None]
    return Data(inputs, targets, torch.zeros(10, 1), torch.arange(10))


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_a_share_of_the_labels_is_wrong_and_all_others_are_for_testing(share):
    found = mislabeled(plain(), 500, share, 0)
    wrong = found.train_targets != found.train_inputs[:, 0].long() % 10
    assert found.samples == 500
    assert int(wrong.sum()) == round(share * 500)
    assert found.train_inputs.unique().numel() == 500
    assert len(found.test_targets) == 510
    assert torch.equal(found.test_targets[:500], found.test_inputs[:500, 0].long() % 10)
    assert not set(found.train_inputs[:, 0].tolist()) & set(found.test_inputs[:500, 0].tolist())


def test_another_seed_is_another_set():
    first, same, other = (mislabeled(plain(), 100, 0.2, seed).train_targets for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_small_mnist_has_a_quarter_of_the_pixels():
    found = small_mnist()
    assert found.train_inputs.shape == (4000, 196)
    assert float(found.train_inputs.std(correction=0)) == pytest.approx(1.0, abs=1e-5)
