import pytest
import torch

from gainstage.lab.catalogue.numbers.ln_batch_independent import CHANGES, CLAIM
from gainstage.lab.measurements.numbers.ln_batch_independent import changed, network


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_leaves_the_first_sample_alone(change):
    batch, others = torch.rand(4, 3), torch.rand(4, 3)
    found = changed(batch, others, change)
    assert torch.equal(found[0], batch[0])
    assert found.shape[0] == (2 if change == "fewer" else 4)
    assert not torch.equal(found, batch)


def test_the_norms_start_from_the_same_weights():
    pair = [[p for p in network(CLAIM.smoke, 3, norm).parameters() if p.dim() == 2] for norm in ("layer", "batch")]
    assert all(torch.equal(first, second) for first, second in zip(*pair, strict=True))
