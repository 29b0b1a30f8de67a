"""What depth does along a network's stream: INI009 rank-collapse, INI010 residual-growth, and their measures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gainstage.remedies.fix import Fix
from gainstage.rules.base import Finding, NotAssessed, Severity, Threshold, counted, rule
from gainstage.rules.signal import MAPS, of_one_step, stream
from gainstage.trace.graph import Residual
from gainstage.trace.records import LayerRecord, Trace

# The cosine of float32 vectors is no nearer to 1 than this.
ROUNDING = 1e-7
# A mean over positions, or the choice of one (a class token), makes samples alike whatever the network is; a stride
# leaves a quarter of them.
_LEFT_OF_POSITIONS = 1 / 8

_SPLIT = "benchmarks/depth_rules.py, development split (docs/thresholds.md)"
ALIKE = Threshold("alike", 3.0, "decades of 1 - cosine between samples", _SPLIT)
_AS_GRADIENTS = "twice the decades at which GRD001 warns: over depth 1 - cosine falls as χ₁, the gradient's norm as √χ₁"
ALIKE_WARNING = Threshold("alike_warning", 5.0, "decades of 1 - cosine between samples", _AS_GRADIENTS)
PARALLEL = Threshold("parallel", 1e-3, "1 - cosine between samples", "networks of the zoo keep 0.012 and more")
DISTINCT = Threshold("distinct", 0.01, "1 - cosine between samples", "inputs nearer than that are the data's (DAT001)")
STREAM_GROWTH = Threshold("stream_growth", 1.5, "decades of rms", _SPLIT)


@dataclass(frozen=True)
class Collapse:
    """How inputs become parallel along the stream.

    Attributes:
        levels: The maps and sums on it, without the read-out, up to where positions are averaged or picked.
        at_first, left: 1 - cosine between two samples at the first of them and at the last.
    """

    levels: tuple[LayerRecord, ...]
    at_first: float
    left: float

    @property
    def decades(self) -> float:
        """log10 of what is left of it; negative if inputs become parallel."""
        return math.log10(self.left / self.at_first)


def collapse(trace: Trace) -> Collapse | None:
    """None where two hidden levels cannot be compared: fewer of them, fewer than two samples, equal inputs."""
    path = [layer for layer in stream(trace) if layer.kind in MAPS or layer.op == "add"]
    if path and path[-1].kind in MAPS:
        path.pop()
    levels = tuple(layer for layer in path[: _while_positions_last(path)] if layer.similarity is not None)
    if len(levels) < 2:
        return None
    at_first = 1 - (levels[0].similarity or 0.0)
    if at_first <= 10 * ROUNDING:
        return None
    return Collapse(levels, at_first, max(1 - (levels[-1].similarity or 0.0), ROUNDING))


def _while_positions_last(path: Sequence[LayerRecord]) -> int:
    """How many of these layers come before the first that has lost most positions of the one before it."""
    counts = [_positions(layer) for layer in path]
    lost = (i for i in range(1, len(path)) if counts[i] < _LEFT_OF_POSITIONS * counts[i - 1])
    return next(lost, len(path))


def _positions(layer: LayerRecord) -> float:
    if not layer.shape:
        return 1.0
    if len(layer.shape) == 3:  # a convolution may run over tokens, or over the features of tokens
        return min(layer.shape[1:])
    channels = 1 if layer.kind == "conv" or len(layer.shape) == 4 else -1
    return layer.count / max(1, layer.shape[channels] * (layer.batch_size or 1))


@dataclass(frozen=True)
class Growth:
    """A run of residual blocks whose branches hold no norm, so that each adds in proportion to what it reads.

    Attributes:
        sums: The sums that end the blocks.
        decades: log10 of the rms at its end over that at its start.
        start, end: These two.
        repaired: Whether a norm on the stream sets the level anew behind it.
    """

    sums: tuple[LayerRecord, ...]
    decades: float
    start: float
    end: float
    repaired: bool


def growths(trace: Trace) -> tuple[Growth, ...]:
    """All such runs on the stream, in order of execution."""
    blocks = {block.sum: block for block in trace.residuals}
    where = {id(layer): position for position, layer in enumerate(trace.layers)}
    found: list[Growth] = []
    run: list[tuple[LayerRecord, float, float]] = []
    for layer in stream(trace):
        block = blocks.get(where[id(layer)])
        change = None if block is None else _change(trace, block)
        if change is not None:
            run.append((layer, *change))
        elif layer.kind == "norm" or block is not None:
            found += _grown(run, repaired=layer.kind == "norm")
            run = []
        elif run and layer.kind == "activation" and layer.rms and run[-1][2]:
            last, start, end = run[-1]
            run[-1] = (last, start * end / layer.rms, end)
    return (*found, *_grown(run, repaired=False))


def worst_growth(trace: Trace) -> Growth | None:
    """The run that grows most; None without any."""
    return max(growths(trace), key=lambda growth: growth.decades, default=None)


def _grown(run: list[tuple[LayerRecord, float, float]], *, repaired: bool) -> list[Growth]:
    if not run:
        return []
    end = run[-1][2]
    # What maps between the blocks take away again has not grown, and what they add is not the blocks' doing.
    decades = min(sum(math.log10(end / start) for _, start, end in run), math.log10(end / run[0][1]))
    return [Growth(tuple(layer for layer, _, _ in run), decades, end / 10**decades, end, repaired)]


def _change(trace: Trace, block: Residual) -> tuple[float, float] | None:
    """rms of the stream before the block and of the sum; None where a norm sets the branch's level, or the skip's.

    Of a projection on the skip that makes the stream smaller, the branch answers for none of it. Two ways from the
    model's input, of which one is made anew, as a recurrent state and what is fed to it, are no stream and its branch.
    """
    layers = trace.layers
    if any(layers[i].kind == "norm" for i in (*block.branch, *block.skip)) or (block.fork is None and block.skip):
        return None
    start = layers[block.branch[0]].input_rms if block.fork is None else layers[block.fork].rms
    if block.skip:
        start = max(start or 0.0, layers[block.skip[-1]].rms or 0.0)
    end = layers[block.sum].rms
    return (start, end) if start and end else None


@rule(
    "INI009", "rank-collapse", severities=("warning", "info"), cause="depth", status="preview",
    explains=("GRD004", "OPT002", "OPT003"), thresholds=(ALIKE, ALIKE_WARNING, PARALLEL, DISTINCT),
    claims=("rank-collapse", "rank-predicts", "edge-of-chaos"),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        layers = [m for _ in range(30) for m in (nn.Linear(64, 64), nn.ReLU())]
        for linear in layers[::2]:
            nn.init.normal_(linear.weight, std=(1.2 / 64) ** 0.5)
            nn.init.normal_(linear.bias, std=0.4 ** 0.5)  # the level is kept, but by the biases
        subject = gs.Subject(nn.Sequential(*layers, nn.Linear(64, 10)), (torch.randn(64, 64), torch.randint(10, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        layers = [m for _ in range(30) for m in (nn.Linear(64, 64), nn.ReLU())]
        for linear in layers[::2]:
            nn.init.kaiming_normal_(linear.weight)
            nn.init.zeros_(linear.bias)
        subject = gs.Subject(nn.Sequential(*layers, nn.Linear(64, 10)), (torch.randn(64, 64), torch.randint(10, (64,))))
    """,
)  # fmt: skip
def rank_collapse(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Different inputs become parallel on their way through the network.

    What: 1 - cosine between two samples falls by more than 100,000 from the first map to the last hidden one; from 1000
        on, where it is below 1/1000 at the end, it is worth knowing.
    Why it hurts: the read-out sees one and the same vector for every input: what tells them apart is lost in rounding
        and in what they have in common, and has to be learned back through a gradient that has shrunk with it.
    How measured: the mean cosine between the outputs of up to 16 samples, at the maps and sums along the shortest way
        from input to loss, up to where positions are averaged or picked. Inputs that are parallel at the first map
        already are the data's affair.
    When it is a false alarm: a batch norm behind the last map draws the samples apart again. Between 1000 and 100,000
        some networks lost nothing by it (GELU), hence no warning there; nor where one layer answers for nearly all of
        the fall, such as one that starts small beside its bias: its first updates draw the samples apart.
    Fix: biases at zero and weights at the preserving gain (gs.initialize), norms over the batch, or residual
        connections.
    References: Schoenholz et al. 2017; Daneshmand et al. 2020; Dong, Cordonnier and Loukas 2021.
    """
    found = collapse(trace)
    if found is None:
        if trace.layers and all(layer.similarity is None for layer in trace.layers):
            yield NotAssessed("INI009", "needs a batch of at least two samples")
        return
    if found.at_first < DISTINCT.value or found.decades > -ALIKE.value or found.left >= PARALLEL.value:
        return
    grave = found.decades <= -ALIKE_WARNING.value and not of_one_step(_steps(found.levels))
    severity: Severity = "warning" if grave else "info"
    first, last = found.levels[0], found.levels[-1]
    half = found.decades / 2
    where = next(
        layer for layer in found.levels
        if math.log10(max(1 - (layer.similarity or 0.0), ROUNDING) / found.at_first) <= half
    )  # fmt: skip
    yield Finding(
        "INI009", "rank-collapse", severity, "depth", where.module,
        message=f"Two samples differ by 1 - cosine = {found.at_first:.2g} at {first.name or 'the root'} and by "
        f"{found.left:.1g} at {last.name}, {counted(len(found.levels) - 1, 'layer')} behind it; half of the decades "
        f"are lost at {where.name}.",
        why="The last layers see nearly the same vector whatever the input is, and cannot tell inputs apart.",
        advice="Start biases at zero and weights at the preserving gain (gs.initialize), or add residual connections.",
        value=10**found.decades, threshold=10**-ALIKE.value,
        evidence={"at_first": found.at_first, "left": found.left, "stable_rank": last.stable_rank,
                  "layers": len(found.levels)},
        fix=_reinitialized("INI009"), layers=tuple(layer.name for layer in found.levels),
    )  # fmt: skip


def _steps(levels: Sequence[LayerRecord]) -> list[float]:
    """Decades that 1 - cosine gains from layer to layer."""
    apart = [math.log10(max(1 - (layer.similarity or 0.0), ROUNDING)) for layer in levels]
    return [behind - before for before, behind in itertools.pairwise(apart)]


def _reinitialized(code: str) -> Fix:
    summary = "Re-draw the weights of every layer for what follows it and set its biases to zero (gs.initialize)."
    return Fix(code, "", summary, "reinitialize", {"scheme": "auto", "seed": 0})


_BLOCKS = """
    import torch, gainstage as gs
    from torch import nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
            nn.init.kaiming_normal_(self.first.weight)
            nn.init.normal_(self.second.weight, std={scale} / 8)

        def forward(self, x):
            return x + self.second(self.first(x).relu())

    model = nn.Sequential(nn.Linear(64, 64), *[Block() for _ in range(16)], nn.Linear(64, 10))
    subject = gs.Subject(model, (torch.randn(64, 64), torch.randint(10, (64,))))
"""


@rule(
    "INI010",
    "residual-growth",
    severities=("warning",),
    cause="init",
    explains=(
        "INI006",
        "GRD002",
        "GRD004",
        "ACT002",
        "NUM001",
        "NUM002",
        "OPT001",
        "OPT002",
        "OPT003",
        "OPT004",
        "OPT005",
    ),
    thresholds=(STREAM_GROWTH,),
    claims=("skipinit", "fixup", "identity-bias"),
    bad=_BLOCKS.format(scale="1.0"),
    good=_BLOCKS.format(scale="0.25"),
)
def residual_growth(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Residual branches without a norm or a scale make the stream grow by a factor in every block.

    What: over a run of blocks x + f(x) whose branches hold no norm, the rms of the stream grows by more than 30, and
        beyond 1.
    Why it hurts: a branch that adds as much as it reads doubles the variance; twenty such blocks make a million, and
        the gradient grows by the same factor on its way back.
    How measured: the rms of each sum over that of what its skip carries, multiplied along the stream. A norm in a
        branch sets its level anew, and the stream grows with the number of blocks only, as in a pre-norm
        transformer; a norm on the stream behind the run sets forward and backward level anew. Neither is reported.
    When it is a false alarm: few blocks with large branches that are followed by a head that scales down.
    Fix: start the last map of each branch small or at zero (gs.initialize does), scale the branches by the root of
        their number, give them a factor that starts at zero (SkipInit, ReZero), or begin them with a norm.
    References: Zhang, Dauphin and Ma 2019, Fixup; De and Smith 2020; Hanin and Rolnick 2018.
    """
    runs = (run for run in growths(trace) if not run.repaired and run.decades >= STREAM_GROWTH.value)
    found = [run for run in runs if run.end > 1]  # what comes from almost nothing to unit scale has not grown too far
    if not found:
        return
    worst = max(found, key=lambda run: run.decades)
    blocks, factor = len(worst.sums), 10**worst.decades
    yield Finding(
        "INI010", "residual-growth", "warning", "init", worst.sums[0].module,
        message=f"The stream's rms grows from {worst.start:.2g} to {worst.end:.2g} over "
        f"{counted(blocks, 'residual block')} without norm: each multiplies the variance by "
        f"{factor ** (2 / blocks):.2g}.",
        why="Every block adds in proportion to what it reads, so that level and gradient grow by a factor a block.",
        advice="Start the last map of each branch small or at zero (gs.initialize), or begin the branches with a norm.",
        value=factor, threshold=10**STREAM_GROWTH.value,
        evidence={"decades": worst.decades, "blocks": blocks, "variance_factor": factor ** (2 / blocks),
                  "rms_in": worst.start, "rms_out": worst.end},
        fix=_reinitialized("INI010"), layers=tuple(layer.name for layer in worst.sums),
    )  # fmt: skip
