"""Attention without a way past it: GRD005 attention-without-skip."""

from __future__ import annotations

from collections.abc import Iterator

from gainstage.rules.base import Finding, NotAssessed, Threshold, counted, rule, some
from gainstage.trace.records import LayerRecord, Trace

STACKED = Threshold("stacked", 2, "attention layers without a skip", "one may be a pooling at the end")
SQUARE_DIMS = 3  # samples, places, places; and heads
_PRODUCTS = frozenset(("matmul", "mm", "bmm", "baddbmm", "einsum"))  # of queries and keys


@rule(
    "GRD005", "attention-without-skip", severities=("warning",), cause="wiring", status="preview",
    explains=("INI002", "INI003", "INI009", "GRD001", "OPT003"), thresholds=(STACKED,),
    bad="""
        import torch, gainstage as gs
        from torch import nn
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm, self.attention = nn.LayerNorm(32), nn.MultiheadAttention(32, 4, batch_first=True)
            def forward(self, x):
                y = self.norm(x)
                return self.attention(y, y, y)[0]  # what was there before is gone
        model = nn.Sequential(Block(), Block(), Block(), nn.Flatten(), nn.Linear(32 * 12, 3))
        subject = gs.Subject(model, (torch.randn(64, 12, 32), torch.randint(3, (64,))))
    """,
    good="""
        import torch, gainstage as gs
        from torch import nn
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm, self.attention = nn.LayerNorm(32), nn.MultiheadAttention(32, 4, batch_first=True)
            def forward(self, x):
                y = self.norm(x)
                return x + self.attention(y, y, y)[0]
        model = nn.Sequential(Block(), Block(), Block(), nn.Flatten(), nn.Linear(32 * 12, 3))
        subject = gs.Subject(model, (torch.randn(64, 12, 32), torch.randint(3, (64,))))
    """,
)  # fmt: skip
def attention_without_skip(trace: Trace) -> Iterator[Finding | NotAssessed]:
    """Layers of self-attention are stacked, and nothing carries the signal past them.

    What: two or more layers of self-attention, none of which is the branch of a sum with what it reads.
    Why it hurts: attention averages over places: without a skip the places become alike, doubly exponentially in
        depth, and the first layers are hardly trained.
    How measured: the residual blocks of the pass, and which of them hold an attention layer in their branch; a softmax
        over as many products of queries and keys as there are rows is taken for one as well.
    When it is a false alarm: networks that are built so on purpose, with values scaled for it.
    Fix: x = x + attention(norm(x)); not x = attention(x), nor x = x + x after it was overwritten.
    References: Dong, Cordonnier and Loukas 2021, Attention is not all you need; Vaswani et al. 2017, section 3.1.
    """
    attention = [position for position, layer in enumerate(trace.layers) if _is_self_attention(layer)]
    passed = {position for block in trace.residuals for position in block.branch}
    # Where others have a skip, one that is not found may be there: of the class token alone, say.
    if len(attention) < STACKED.value or passed.intersection(attention):
        return
    bare = [trace.layers[position] for position in attention]
    names = tuple(dict.fromkeys(layer.name for layer in bare))
    yield Finding(
        "GRD005", "attention-without-skip", "warning", "wiring", bare[0].module,
        message=f"Nothing carries the signal past {counted(len(names), 'layer')} of self-attention ({some(names)}): "
        "what they read is not added to what they say.",
        why="Attention averages over places: stacked without a skip it makes them alike, and the first layers are "
        "hardly trained.",
        advice="Add what a block reads to what it says, x = x + attention(norm(x)); look for an x that is overwritten "
        "before it is added.",
        value=float(len(names)), threshold=STACKED.value, layers=names,
    )  # fmt: skip


def _is_self_attention(layer: LayerRecord) -> bool:
    if layer.kind == "attention":
        return True
    square = len(layer.shape) >= SQUARE_DIMS and layer.shape[-1] == layer.shape[-2] > 1
    last = int((layer.attributes or {}).get("dim", -1)) == len(layer.shape) - 1
    # Sums of a score for either end, over the neighbours of a graph, are another thing: stacks of two are usual there.
    return layer.op == "softmax" and square and last and bool(_PRODUCTS.intersection(layer.via))
