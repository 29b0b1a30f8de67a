"""What ``gainstage tour`` looks at: a network that cannot train, by a mistake that is easily made.

Thirty plain ReLU layers, a standardised data set, Adam at its usual learning rate, and torch's own default
initialization: nobody did anything wrong, and the loss stands at 2.30.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from gainstage.errors import InputError
from gainstage.trace.subject import Subject

DEPTH, WIDTH, BATCH = 30, 64, 64


def digits() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """scikit-learn's handwritten digits, 8 x 8, standardised: the 1400 training images in batches of 64.

    Raises:
        InputError: if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError(
            "tour: scikit-learn must be installed for its digits. pip install 'gainstage[lab]'."
        ) from error
    inputs, targets = load_digits(return_X_y=True)
    x, y = torch.tensor(inputs[:1400], dtype=torch.float32), torch.tensor(targets[:1400])
    x = (x - x.mean(0)) / (x.std(0) + 1e-6)
    return [(x[start : start + BATCH], y[start : start + BATCH]) for start in range(0, len(x) - BATCH + 1, BATCH)]


def deep_mlp() -> nn.Module:
    """Thirty hidden layers of 64 ReLU units, initialized by torch's defaults."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index in range(DEPTH):
        layers[f"linear{index}"] = nn.Linear(WIDTH, WIDTH)
        layers[f"relu{index}"] = nn.ReLU()
    layers["readout"] = nn.Linear(WIDTH, 10)
    return nn.Sequential(layers)


def subject() -> Subject:
    """The network with its data, loss and optimizer: a TARGET to try the commands on."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = deep_mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Subject(model, digits(), nn.CrossEntropyLoss(), optimizer, name="30-layer ReLU network on digits")
