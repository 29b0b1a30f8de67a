import torch
from torch import nn

from gainstage.lab.measurements.numbers.overflow_before_bn import largest_product


def test_the_largest_product_is_that_of_any_map():
    first, second = nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[3.0], [-5.0]]))
        second.weight.copy_(torch.tensor([[4.0, 1.0]]))
    model = nn.Sequential(first, nn.ReLU(), second)
    assert largest_product(model, torch.tensor([[1.0]])) == 12.0
    assert largest_product(model[:2], torch.tensor([[1.0]])) == 5.0
    assert first.weight.dtype == torch.float32
