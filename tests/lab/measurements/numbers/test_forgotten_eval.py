import torch
from torch import nn

from gainstage.lab.measurements.numbers.forgotten_eval import in_training_mode


class RankInBatch(nn.Module):
    """Answers with how many of the batch are smaller: a sample's answer tells what it was batched with."""

    def forward(self, x):
        ranks = (x < x.T).sum(0)
        return nn.functional.one_hot(ranks, 8)


def test_answers_come_back_in_the_inputs_order():
    inputs = torch.tensor([[4.0], [1.0], [3.0], [2.0]])
    order = torch.tensor([3, 0, 1, 2])
    assert in_training_mode(RankInBatch(), inputs, order, 2).tolist() == [1, 0, 1, 0]
    assert in_training_mode(RankInBatch(), inputs, order, 4).tolist() == [3, 0, 2, 1]


def test_what_is_left_over_is_batched_with_samples_from_before():
    inputs = torch.tensor([[4.0], [1.0], [3.0]])
    assert in_training_mode(RankInBatch(), inputs, torch.tensor([0, 1, 2]), 2).tolist() == [1, 0, 1]
    assert in_training_mode(RankInBatch(), inputs, torch.tensor([0, 1, 2]), 8).tolist() == [2, 0, 1]


def test_single_samples_are_refused_and_the_network_stays_as_it_was():
    norm = nn.BatchNorm1d(2).eval()
    assert in_training_mode(norm, torch.randn(4, 2), torch.arange(4), 1) is None
    assert in_training_mode(norm, torch.randn(4, 2), torch.arange(4), 2) is not None
    assert not norm.training
    assert norm.num_batches_tracked == 0
