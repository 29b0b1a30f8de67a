"""Numbers that the designs of several claims have in common. Without torch."""

from __future__ import annotations

from dataclasses import dataclass

from gainstage.lab.claim import Design

RESIDUAL = "gainstage.lab.apparatus.networks:residual_mlp"
PLAIN = "gainstage.lab.apparatus.networks:mlp"
VGG = "gainstage.lab.apparatus.convnets:vgg"
RESNET = "gainstage.lab.apparatus.convnets:resnet"
DIGITS = "gainstage.lab.apparatus.data:digits"
MNIST = "gainstage.lab.apparatus.data:mnist_5k"
CIFAR = "gainstage.lab.apparatus.data:cifar10"
# Five times chance on ten classes, and far from it: a learning rate at which a network gets there is usable.
USABLE = 0.5


@dataclass(frozen=True)
class Net:
    """A network that takes ``norm``.

    Attributes:
        label: What rows and figures call it.
        factory: A reference.
        options: Keywords of the factory, beside the norm.
    """

    label: str
    factory: str
    options: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class RateDesign(Design):
    """Trainings of one network over learning rates.

    Attributes:
        net: What is trained.
        data: A reference.
        device: ``cpu``, or ``auto`` for a GPU where there is one.
        init: One of `gainstage.lab.apparatus.draws.DRAWS`.
        lrs: Ascending.
        steps: Updates of each training.
        batch: Samples of a batch.
    """

    net: Net
    data: str
    device: str
    init: str
    lrs: tuple[float, ...]
    steps: int
    batch: int


@dataclass(frozen=True)
class AtStart(Design):
    """Networks before their first update.

    Attributes:
        nets: The first one is judged, the others are reported.
        inits: Names of `gainstage.lab.apparatus.draws.DRAWS`; the first one is judged; of the other nets it is the
            only one.
        data: A reference.
        device: ``cpu``, or ``auto`` for a GPU where there is one.
        batch: Samples of a batch.
    """

    nets: tuple[Net, ...]
    inits: tuple[str, ...]
    data: str
    device: str
    batch: int

    @property
    def cases(self) -> tuple[tuple[Net, str], ...]:
        """Net and initialization: the judged ones, the net with the other initializations, the other nets."""
        first, *others = self.nets
        return (*((first, init) for init in self.inits), *((net, self.inits[0]) for net in others))
