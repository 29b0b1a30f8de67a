"""What a layer scheme is, what it is told of the weight that it draws, and the registry of all schemes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch

from gainstage import theory
from gainstage.errors import InitializationError
from gainstage.schemes.variances import Distribution, draw
from gainstage.theory import Activation

FanVariance = Callable[[float, float, float], float]


@dataclass(frozen=True)
class Site:
    """The place that a weight is drawn for.

    Attributes:
        shape: Of the parameter, as torch lays it out: (out, in) for linear weights, (out, in/groups, ...) for
            convolutions, (in, out/groups, ...) for transposed ones.
        fan_in, fan_out: Of one output unit, per group and per packed projection.
        gain: Of what follows, by the scheme's own ``gain``; 1 without.
        activation: What follows it, or None.
        groups: Of the convolution.
        transposed: Whether it is the weight of a transposed convolution.
        convolution: Whether it is a convolution's; else it is a matrix, in either orientation.
        parts: How many projections are packed into the weight, along the side that is not fan_in (3 for q, k and v).
        has_bias: Whether the layer has a bias that is drawn too.
    """

    shape: tuple[int, ...]
    fan_in: float
    fan_out: float
    gain: float = 1.0
    activation: Activation | None = None
    groups: int = 1
    transposed: bool = False
    convolution: bool = False
    parts: int = 1
    has_bias: bool = True

    @property
    def kernel(self) -> tuple[int, ...]:
        """Sizes of the kernel; empty for a matrix."""
        return self.shape[2:] if self.convolution else ()

    @property
    def receptive_field(self) -> int:
        """Number of taps of the kernel; 1 for a matrix."""
        return math.prod(self.kernel)


def _nothing(_site: Site) -> float:
    return 0.0


def _no_reason(_site: Site) -> str | None:
    return None


@dataclass(frozen=True)
class LayerScheme:
    """A way to draw one layer's weight, and its bias.

    Attributes:
        name: ``he_normal``; begins with the name of its file in the catalogue.
        source: The paper.
        variance: The mean square of an entry that it aims at, over the whole tensor; Var W if entries are
            independent and centred.
        draws: The weight: a float32 tensor on the CPU of the site's shape, from the generator alone.
        gain: An activation's gain, for ``Site.gain``; None: the scheme knows no gain, and 1 is given.
        refusal: Why it cannot draw this weight, in words that follow "he_normal: "; None if it can.
        fallback: The scheme that takes its place there; None: what ``auto`` takes.
        bias_variance: Var b; 0 sets the biases to zero.
        bias_distribution: Of the biases.
        gain_of: Which activation's gain: that ``behind`` the layer, or that ``before`` it, whose output it reads.
    """

    name: str
    source: str
    variance: Callable[[Site], float]
    draws: Callable[[Site, torch.Generator], torch.Tensor] = field(repr=False)
    gain: Callable[[Activation], float] | None = None
    refusal: Callable[[Site], str | None] = field(default=_no_reason, repr=False)
    fallback: str | None = None
    bias_variance: Callable[[Site], float] = field(default=_nothing, repr=False)
    bias_distribution: Distribution = "normal"
    gain_of: Literal["behind", "before"] = "behind"

    @property
    def uses_gain(self) -> bool:
        """Whether the activation's gain enters."""
        return self.gain is not None

    def draw(self, site: Site, generator: torch.Generator) -> torch.Tensor:
        """The weight.

        Args:
            site: One that ``refusal`` has no reason against.
            generator: A CPU generator.

        Returns:
            A float32 tensor on the CPU; cast it afterwards.

        Raises:
            InitializationError: if the scheme draws anything else, such as a tensor of another shape.

        Validity:
            The same seed gives the same draw; for what multiplies matrices (the orthogonal families) to the
            last bit only with the same number of threads on the same kind of processor.

        Example:
            >>> from gainstage.schemes import scheme
            >>> w = scheme("lecun_normal").draw(Site((3, 4), 4, 3), torch.Generator().manual_seed(0))
            >>> tuple(w.shape)
            (3, 4)
        """
        # Under autocast products of matrices would be rounded to bfloat16.
        with torch.autocast("cpu", enabled=False):
            drawn = self.draws(site, generator)
        if tuple(drawn.shape) != site.shape or drawn.dtype != torch.float32 or drawn.device.type != "cpu":
            raise InitializationError(
                f"initialize: scheme {self.name!r} must draw float32 of shape {site.shape} on the CPU, got "
                f"{drawn.dtype} of shape {tuple(drawn.shape)} on {drawn.device}. Mend its draws."
            )
        return drawn

    def draw_bias(self, site: Site, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """The bias, of the given shape: zeros unless the scheme has a variance for it."""
        return draw(shape, self.bias_variance(site), self.bias_distribution, generator)


SCHEMES: dict[str, LayerScheme] = {}


def register(scheme: LayerScheme) -> LayerScheme:
    """Enters a scheme in the registry, under its name, and returns it.

    Args:
        scheme: Its name must be free.

    Raises:
        InitializationError: if there is a scheme of this name.

    Example:
        >>> register(SCHEMES["he_normal"])
        Traceback (most recent call last):
            ...
        gainstage.errors.InitializationError: register: name must be free, got 'he_normal' twice. Rename the scheme.
    """
    if scheme.name in SCHEMES:
        raise InitializationError(f"register: name must be free, got {scheme.name!r} twice. Rename the scheme.")
    SCHEMES[scheme.name] = scheme
    return scheme


def register_fan_family(
    family: str, source: str, variance: FanVariance, gain: Callable[[Activation], float] | None = None
) -> None:
    """Registers ``family_normal``, ``family_uniform`` and ``family_truncated_normal`` of one variance.

    Args:
        family: The name's first part.
        source: The paper.
        variance: Var W as a function of fan_in, fan_out and gain.
        gain: As in `LayerScheme`.
    """
    distributions: tuple[Distribution, ...] = ("normal", "uniform", "truncated_normal")
    for distribution in distributions:

        def at(site: Site) -> float:
            return variance(site.fan_in, site.fan_out, site.gain)

        def draws(site: Site, generator: torch.Generator, distribution: Distribution = distribution) -> torch.Tensor:
            return draw(site.shape, at(site), distribution, generator)

        register(LayerScheme(f"{family}_{distribution}", source, at, draws, gain))


def preserving_gain(act: Activation) -> float:
    """Returns the gain that carries a signal through depth: (E φ²)^(-1/2) for rectifiers, 1/|φ′(0)| for others.

    He's gain 1.59 before tanh keeps the variance 1, but makes a deep network chaotic; 1 is on the edge.

    Args:
        act: The activation φ.

    Raises:
        InputError: if φ vanishes or is not finite.

    Validity:
        As for `gainstage.theory.preserving_weight_var`.

    Example:
        >>> from gainstage import theory
        >>> round(preserving_gain(theory.activation("relu")), 4), preserving_gain(theory.activation("tanh"))
        (1.4142, 1.0)

    References:
        He et al. 2015; Saxe et al. 2014; Pennington et al. 2017, Resurrecting the sigmoid.
    """
    return math.sqrt(theory.preserving_weight_var(act))
