import torch

from gainstage.lab.apparatus.data import color_noise
from gainstage.lab.apparatus.label_noise import shuffled_color_noise


def test_smoke_trains_both_on_true_and_on_shuffled_labels(smoke_rows):
    for part in ("claim", "control"):
        rows = smoke_rows("vgg-accuracy", part)
        assert [row["norm"] for row in rows] == ["batch", "none"] * 2
        assert not any(row["diverged"] for row in rows)


def test_shuffling_moves_training_labels_alone():
    plain, shuffled = color_noise(), shuffled_color_noise()
    assert torch.equal(shuffled.train_inputs, plain.train_inputs)
    assert torch.equal(shuffled.test_targets, plain.test_targets)
    assert torch.equal(shuffled.train_targets.bincount(), plain.train_targets.bincount())
    assert not torch.equal(shuffled.train_targets, plain.train_targets)
