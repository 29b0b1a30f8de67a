"""Schemes for whole networks: a layer scheme, and what the place in a residual stream changes about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gainstage.schemes.index import index
from gainstage.schemes.streams import MAPS, maps_of, read_out, serial_maps, streams
from gainstage.schemes.targets import branch_scales
from gainstage.trace.records import Trace

# NF-ResNets: the scale of every branch, whose variances add up along a stage (Brock et al. 2021, section 3).
NF_ALPHA = 0.2
# T-Fixup: what its branches of an encoder and of a decoder are multiplied with, at N layers times N^(-1/4).
T_FIXUP_ENCODER, T_FIXUP_DECODER = 0.67, 9**-0.25


@dataclass(frozen=True)
class Changes:
    """What a scheme for whole networks changes about the draws of its layer scheme.

    Attributes:
        scales: What draws are multiplied with, by position of their layers in the trace; 1 for the others.
        constants: Parameters that are no layer's weight, such as SkipInit's α, and the value that they get.
        reasons: Why, by position, where the scheme's own reason does not say it.
        tables: What draws of embeddings, Var = 1/d, are multiplied with; embeddings not named are left.
    """

    scales: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))
    constants: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    reasons: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    tables: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Structured:
    """A named scheme for whole networks.

    Attributes:
        source: The paper.
        base: The layer scheme, or one of ``auto`` and its kin, that draws the weights.
        changes: What the architecture changes about them.
        why: For the plan's note, in words that follow the scale.
    """

    source: str
    base: str
    changes: Callable[[Trace], Changes]
    why: str


def fixup(trace: Trace) -> Changes:
    """Fixup: in a stream of L branches of m maps, all but the last times L^(-1/(2m-2)); the last, and the read-out, 0.

    The scalar multipliers and biases of the paper, where the model has them, become 1 and 0.

    Args:
        trace: Of one pass of the model.

    References:
        Zhang, Dauphin and Ma 2019, Fixup initialization: residual learning without normalization.
    """
    scales: dict[int, float] = {}
    for stream in streams(trace):
        for block in stream.blocks:
            maps = serial_maps(trace, block)
            for position in maps[:-1]:
                scales[position] = len(stream.blocks) ** (-1 / (2 * len(maps) - 2))
            for position in maps[-1:]:
                scales[position] = 0.0
    neutral = {"mul": 1.0, "add": 0.0}
    scalars = {name: neutral[op] for op, name in _scalars(trace, range(len(trace.layers))) if op in neutral}
    return Changes({**scales, **dict.fromkeys(read_out(trace), 0.0)}, scalars)


def skip_init(trace: Trace) -> Changes:
    """SkipInit and ReZero: α = 0 where a branch has one; where it has none, its last map is 0.

    Args:
        trace: Of one pass of the model.

    References:
        De and Smith 2020, Batch normalization biases residual blocks towards the identity function; Bachlechner
        et al. 2021, ReZero is all you need.
    """
    scales: dict[int, float] = {}
    constants: dict[str, float] = {}
    for block in trace.residuals:
        alphas = [name for op, name in _scalars(trace, (block.sum,)) if op == "mul"]
        if alphas:
            constants[alphas[-1]] = 0.0
        else:
            scales.update(dict.fromkeys(serial_maps(trace, block)[-1:], 0.0))
    return Changes(scales, constants)


def _scalars(trace: Trace, positions: range | tuple[int, ...]) -> list[tuple[str, str]]:
    """The single numbers among the parameters that were applied on the way to these layers."""
    parameters = index(trace).parameters
    pairs = (pair for position in positions for pair in trace.layers[position].modifiers)
    return [(op, name) for op, name in pairs if all(size == 1 for size in parameters[name].shape)]


def nf_resnet(trace: Trace) -> Changes:
    """The variances of an NF-ResNet, without its code: h + α f(h/β), α = 0.2, β = √Var(h), Var ← Var + α².

    The first map of a branch is divided by β and the last times α; a branch whose skip is projected divides
    that projection too, and Var begins again at 1. Weights have the variance of scaled weight standardization as they
    are drawn; that training keeps it is the architecture's part.

    Args:
        trace: Of one pass of the model.

    Validity:
        f(h/β) is f(h)/β only where nothing but positively homogeneous operations (rectifiers, pooling) stands before
        the first map of a branch. The input of a stream has variance 1.

    References:
        Brock, De and Smith 2021, Characterizing signal propagation to close the performance gap in unnormalized
        ResNets, section 3.
    """
    scales: dict[int, float] = {}
    for stream in streams(trace):
        variance = 1.0
        for block in stream.blocks:
            maps = serial_maps(trace, block)
            first = [position for position in maps if not set(trace.layers[position].inputs) & set(maps)][:1]
            skip = [position for position in block.skip if trace.layers[position].kind in MAPS]
            for position in dict.fromkeys((*first, *skip)):
                scales[position] = variance**-0.5
            for position in maps[-1:]:
                scales[position] = scales.get(position, 1.0) * NF_ALPHA
            variance = (1.0 if skip else variance) + NF_ALPHA**2
    return Changes(scales)


def t_fixup(trace: Trace) -> Changes:
    """T-Fixup: values, output projections and feed-forward maps times 0.67·N^(-1/4) in an encoder of N layers, and
    (9N)^(-1/4) in a decoder; embeddings, drawn with Var = 1/d, times (9N)^(-1/4) of the decoder.

    A stream with attention to another one is a decoder. Of a model without one the encoder's N is taken for the
    embeddings, which the paper leaves open.

    Args:
        trace: Of one pass of the model.

    Validity:
        The paper's for transformers without layer norms, which are trained without warm-up. Where one matrix makes
        queries, keys and values, and the model itself cuts it up, all three are scaled.

    References:
        Huang, Perez, Ba and Volkovs 2020, Improving transformer optimization through better initialization, section 3.
    """
    found = streams(trace, through_norms=True)
    scales: dict[int, float] = {}
    for stream in found:
        base = T_FIXUP_DECODER if stream.is_decoder else T_FIXUP_ENCODER
        factor = base * math.pow(stream.layers, -0.25)
        for block in stream.blocks:
            scaled = (position for position in maps_of(trace, block) if position not in stream.scoring)
            scales.update(dict.fromkeys(scaled, factor))
    if not found:
        return Changes()
    deepest = max(found, key=lambda stream: (stream.is_decoder, stream.layers))
    factor = math.pow(9 * deepest.layers, -0.25)
    tables = [position for position, layer in enumerate(trace.layers) if layer.kind == "embedding"]
    return Changes(scales, tables=dict.fromkeys(tables, factor))


def gpt2(trace: Trace) -> Changes:
    """GPT-2: the projections that end residual branches times 1/√L in a stream of L sums, two for each layer.

    Args:
        trace: Of one pass of the model.

    References:
        Radford et al. 2019, Language models are unsupervised multitask learners, section 2.3.
    """
    return Changes(branch_scales(trace))


STRUCTURED: dict[str, Structured] = {
    "fixup": Structured("Zhang et al. 2019", "auto", fixup, "Fixup"),
    "skipinit": Structured("De and Smith 2020", "auto", skip_init, "SkipInit"),
    "nf_resnet": Structured("Brock et al. 2021", "nf_normal", nf_resnet, "NF-ResNet"),
    "t_fixup": Structured("Huang et al. 2020", "glorot_uniform", t_fixup, "T-Fixup"),
    "gpt2": Structured("Radford et al. 2019", "gpt", gpt2, "residual projections by 1/√(2·layers)"),
}


def constants(trace: Trace, name: str) -> Mapping[str, float]:
    """The parameters that a scheme for whole networks sets to one value each; none for any other scheme."""
    return STRUCTURED[name].changes(trace).constants if name in STRUCTURED else {}
