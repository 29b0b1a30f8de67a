"""torch's own layers and hand-made networks: whatever people write that is no plain stack of modules."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from zoo.case import Case, Parts, Size

CLASSES = 4


def vectors(size: Size) -> tuple[torch.Tensor, torch.Tensor]:
    rows = 32 * size.batch
    return torch.randn(rows, size.width), torch.randint(CLASSES, (rows,))


def images(size: Size) -> tuple[torch.Tensor, torch.Tensor]:
    side = size.pixels // 4
    return torch.randn(size.batch, 3, side, side), torch.randint(CLASSES, (size.batch,))


def sequences(size: Size) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(size.batch, size.length, size.width), torch.randint(CLASSES, (size.batch,))


def tokens(size: Size) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(50, (size.batch, size.length)), torch.randint(CLASSES, (size.batch,))


def channels(size: Size) -> int:
    return max(8, size.width // 4)


class Net(nn.Module):
    """A forward as a function of the module and its inputs, and named parts."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            if isinstance(part, nn.Parameter):
                self.register_parameter(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self, *args, **kwargs)


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) / shape[-1] ** 0.5)


Build = Callable[[Size], Parts]
TABLE: dict[str, Build] = {}


def kind(build: Build) -> Build:
    TABLE[build.__name__.strip("_").replace("_", "-")] = build
    return build


def cases() -> list[Case]:
    return [Case(f"torch:{name}", build) for name, build in TABLE.items()]


# --- stacks


@kind
def mlp(s: Size) -> Parts:
    hidden = [layer for _ in range(4) for layer in (nn.Linear(s.width, s.width), nn.ReLU())]
    return Parts(nn.Sequential(*hidden, nn.Linear(s.width, CLASSES)), vectors(s))


@kind
def in_place_activations(s: Size) -> Parts:
    c = channels(s)
    model = nn.Sequential(
        nn.Conv2d(3, c, 3, padding=1), nn.BatchNorm2d(c), nn.ReLU(inplace=True),
        nn.Conv2d(c, c, 3, padding=1, groups=c // 4), nn.SiLU(inplace=True), nn.GroupNorm(4, c), nn.ELU(inplace=True),
        nn.Dropout2d(0.1), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * c, CLASSES),
    )  # fmt: skip
    return Parts(model, images(s))


@kind
def transposed_convolutions(s: Size) -> Parts:
    c = channels(s)
    model = nn.Sequential(
        nn.Conv2d(3, c, 4, stride=2), nn.LeakyReLU(0.2), nn.ConvTranspose2d(c, c, 4, stride=2, groups=2),
        nn.InstanceNorm2d(c, affine=True), nn.Hardswish(), nn.Conv2d(c, c, 3, dilation=2), nn.PReLU(c),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(c, CLASSES),
    )  # fmt: skip
    return Parts(model, images(s))


@kind
def convolutions_in_one_and_three_dimensions(s: Size) -> Parts:
    c = channels(s)
    model = Net(
        lambda m, x: m.head(m.volume(F.softplus(m.line(x)).unflatten(2, (4, 4, -1))).flatten(2).mean(2)),
        line=nn.Conv1d(s.width, c, 3, padding=1), volume=nn.Conv3d(c, c, 3, padding=1), head=nn.Linear(c, CLASSES),
    )  # fmt: skip
    return Parts(model, (torch.randn(s.batch, s.width, 64), torch.randint(CLASSES, (s.batch,))))


@kind
def residual_blocks(s: Size) -> Parts:
    def block(c: int) -> nn.Module:
        return Net(
            lambda m, x: F.relu(x + m.bn2(m.conv2(F.relu(m.bn1(m.conv1(x)), inplace=True))), inplace=True),
            conv1=nn.Conv2d(c, c, 3, padding=1, bias=False), bn1=nn.BatchNorm2d(c),
            conv2=nn.Conv2d(c, c, 3, padding=1, bias=False), bn2=nn.BatchNorm2d(c),
        )  # fmt: skip

    c = channels(s)
    body = [nn.Conv2d(3, c, 3, padding=1), block(c), block(c), block(c), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return Parts(nn.Sequential(*body, nn.Linear(c, CLASSES)), images(s))


@kind
def autoencoder(s: Size) -> Parts:
    layers = [nn.Linear(s.width, s.width // 2), nn.Tanh(), nn.Linear(s.width // 2, s.width), nn.Sigmoid()]
    x = torch.rand(8 * s.batch, s.width)
    return Parts(nn.Sequential(*layers), (x, x), F.binary_cross_entropy)


# --- sequences


def _recurrent(cell: Callable[..., nn.Module], s: Size, **options: Any) -> Parts:
    rnn = cell(s.width, s.width, batch_first=True, **options)
    factor = 2 if options.get("bidirectional") else 1
    model = Net(lambda m, x: m.head(m.rnn(x)[0][:, -1]), rnn=rnn, head=nn.Linear(factor * s.width, CLASSES))
    return Parts(model, sequences(s))


@kind
def lstm(s: Size) -> Parts:
    return _recurrent(nn.LSTM, s, num_layers=2, dropout=0.1)


@kind
def bidirectional_lstm_with_projection(s: Size) -> Parts:
    parts = _recurrent(nn.LSTM, s, bidirectional=True, proj_size=s.width // 2)
    parts.model.head = nn.Linear(s.width, CLASSES)
    return parts


@kind
def gru(s: Size) -> Parts:
    return _recurrent(nn.GRU, s)


@kind
def elman(s: Size) -> Parts:
    return _recurrent(nn.RNN, s, nonlinearity="relu")


@kind
def recurrent_cells_in_a_loop(s: Size) -> Parts:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(len(x), m.gru.hidden_size)
        h2, c2 = h, h
        for step in x.unbind(1)[:6]:
            h = m.gru(step, h)
            h2, c2 = m.lstm(h, (h2, c2))
        return m.head(h2)

    cells = {"gru": nn.GRUCell(s.width, s.width), "lstm": nn.LSTMCell(s.width, s.width)}
    return Parts(Net(forward, **cells, head=nn.Linear(s.width, CLASSES)), sequences(s))


@kind
def packed_sequence(s: Size) -> Parts:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        lengths = torch.arange(s.length, s.length - len(x), -1).clamp_min(1)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return m.head(m.rnn(packed)[1][-1])

    return Parts(Net(forward, rnn=nn.GRU(s.width, s.width, batch_first=True), head=nn.Linear(s.width, CLASSES)),
                 sequences(s))  # fmt: skip


@kind
def transformer_encoder(s: Size) -> Parts:
    layer = nn.TransformerEncoderLayer(s.width, 4, 2 * s.width, batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(s.width), enable_nested_tensor=False)
    return Parts(Net(lambda m, x: m.head(m.encoder(x).mean(1)), encoder=encoder, head=nn.Linear(s.width, CLASSES)),
                 sequences(s))  # fmt: skip


@kind
def transformer(s: Size) -> Parts:
    both = nn.Transformer(s.width, 4, 1, 1, 2 * s.width, batch_first=True)
    model = Net(
        lambda m, ids: m.head(m.both(m.embed(ids) + m.positions[: ids.shape[1]], m.embed(ids.flip(1))).mean(1)),
        embed=nn.Embedding(50, s.width), positions=weight(128, s.width), both=both, head=nn.Linear(s.width, CLASSES),
    )  # fmt: skip
    return Parts(model, tokens(s))


@kind
def multihead_attention_to_other_features(s: Size) -> Parts:
    attention = nn.MultiheadAttention(s.width, 4, batch_first=True, kdim=s.width // 2, vdim=s.width // 2)
    model = Net(
        lambda m, x: m.head(m.attention(x, x[..., ::2], x[..., 1::2])[0].mean(1)),
        attention=attention, head=nn.Linear(s.width, CLASSES),
    )  # fmt: skip
    return Parts(model, sequences(s))


@kind
def multihead_attention_to_another_sequence(s: Size) -> Parts:
    model = Net(
        lambda m, x: m.head(m.attention(x, x.flip(1), x.flip(1), need_weights=False)[0].mean(1)),
        attention=nn.MultiheadAttention(s.width, 4, batch_first=True, add_bias_kv=True),
        head=nn.Linear(s.width, CLASSES),
    )
    return Parts(model, sequences(s))


@kind
def attention_by_hand(s: Size) -> Parts:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        q, k, v = m.qkv(x).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-2, -1)) / q.shape[-1] ** 0.5
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return m.head((x + m.out(mixed)).mean(1))

    parts = {"qkv": nn.Linear(s.width, 3 * s.width), "out": nn.Linear(s.width, s.width)}
    return Parts(Net(forward, **parts, head=nn.Linear(s.width, CLASSES)), sequences(s))


@kind
def class_token_and_positions(s: Size) -> Parts:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([m.token.expand(len(x), -1, -1), x], 1) + m.positions
        return m.head(m.norm(x + F.gelu(m.inner(x)))[:, 0])

    model = Net(
        forward, token=weight(1, 1, s.width), positions=weight(1, s.length + 1, s.width),
        inner=nn.Linear(s.width, s.width), norm=nn.LayerNorm(s.width), head=nn.Linear(s.width, CLASSES),
    )  # fmt: skip
    return Parts(model, sequences(s))


# --- weights that are no module's own


@kind
def functional_weights(s: Size) -> Parts:
    model = Net(
        lambda m, x: torch.einsum("bi,io->bo", F.relu(F.linear(x + m.offset, m.first, m.bias)), m.second),
        first=weight(s.width, s.width), second=weight(s.width, CLASSES), offset=weight(1, s.width),
        bias=nn.Parameter(torch.zeros(s.width)),
    )  # fmt: skip
    return Parts(model, vectors(s))


@kind
def parameter_list_and_dict(s: Size) -> Parts:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        for w in m.weights:
            x = (x @ w).tanh()
        return x @ m.named["out"]

    model = Net(
        forward, weights=nn.ParameterList(weight(s.width, s.width) for _ in range(3)),
        named=nn.ParameterDict({"out": weight(s.width, CLASSES)}),
    )  # fmt: skip
    return Parts(model, vectors(s))


@kind
def stacked_experts(s: Size) -> Parts:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        gates = m.router(x).softmax(-1)
        hidden = F.silu(torch.einsum("bi,eoi->ebo", x, m.up))
        return torch.einsum("be,ebc->bc", gates, torch.bmm(hidden, m.down))

    model = Net(forward, router=nn.Linear(s.width, 3), up=weight(3, s.width, s.width), down=weight(3, s.width, CLASSES))
    return Parts(model, vectors(s))


@kind
def affine_by_hand(s: Size) -> Parts:
    model = Net(
        lambda m, x: m.head(torch.addcmul(m.beta, m.alpha, m.inner(x)) * m.scale),
        inner=nn.Linear(s.width, s.width), alpha=nn.Parameter(torch.ones(1, 1, s.width)),
        beta=nn.Parameter(torch.zeros(1, 1, s.width)), scale=nn.Parameter(torch.ones(1, s.width)),
        head=nn.Linear(s.width, CLASSES),
    )  # fmt: skip
    x, _ = sequences(s)
    return Parts(model, (x, torch.randint(CLASSES, x.shape[:2])), lambda o, t: F.cross_entropy(o.transpose(1, 2), t))


@kind
def low_rank_adapters(s: Size) -> Parts:
    linear = nn.Linear(s.width, s.width).requires_grad_(False)
    model = Net(
        lambda m, x: m.head(F.relu(m.frozen(x) + (x @ m.a.T) @ m.b.T)),
        frozen=linear, a=weight(4, s.width), b=nn.Parameter(torch.zeros(s.width, 4)), head=nn.Linear(s.width, CLASSES),
    )  # fmt: skip
    return Parts(model, vectors(s))


@kind
def hypernetwork(s: Size) -> Parts:
    model = Net(
        lambda m, x: F.linear(F.relu(m.body(x)), m.maker(m.code).view(CLASSES, -1)),
        body=nn.Linear(s.width, 16), maker=nn.Linear(8, CLASSES * 16), code=weight(1, 8),
    )  # fmt: skip
    return Parts(model, vectors(s))


@kind
def weight_standardization(s: Size) -> Parts:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        w = m.conv.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
        return m.head(F.relu(m.norm(F.conv2d(x, w, m.conv.bias, padding=1))).mean((2, 3)))

    c = channels(s)
    parts = {"conv": nn.Conv2d(3, c, 3), "norm": nn.GroupNorm(4, c), "head": nn.Linear(c, CLASSES)}
    return Parts(Net(forward, **parts), images(s))


@kind
def bilinear(s: Size) -> Parts:
    w = s.width // 4
    model = Net(
        lambda m, x: m.both(F.relu(m.left(x)), F.relu(m.right(x))),
        left=nn.Linear(s.width, w), right=nn.Linear(s.width, w), both=nn.Bilinear(w, w, CLASSES),
    )  # fmt: skip
    return Parts(model, vectors(s))


# --- sharing, looping, leaving out


@kind
def tied_embedding(s: Size) -> Parts:
    embed, out = nn.Embedding(50, s.width), nn.Linear(s.width, 50, bias=False)
    out.weight = embed.weight
    ids = tokens(s)[0]
    model = Net(lambda m, i: m.out(F.gelu(m.inner(m.embed(i)))).transpose(1, 2), embed=embed,
                inner=nn.Linear(s.width, s.width), out=out)  # fmt: skip
    return Parts(model, (ids, ids), F.cross_entropy)


@kind
def module_called_in_a_loop(s: Size) -> Parts:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        for _ in range(5):
            x = torch.tanh(m.inner(x)) + x
        return m.head(x)

    return Parts(Net(forward, inner=nn.Linear(s.width, s.width), head=nn.Linear(s.width, CLASSES)), vectors(s))


@kind
def one_module_in_two_places(s: Size) -> Parts:
    shared = nn.Linear(s.width, s.width)
    return Parts(nn.Sequential(shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(s.width, CLASSES)), vectors(s))


@kind
def siamese(s: Size) -> Parts:
    model = Net(
        lambda m, a, b: m.head((m.body(a) - m.body(b)).abs()),
        body=nn.Sequential(nn.Linear(s.width, s.width), nn.ReLU()),
        head=nn.Linear(s.width, CLASSES),
    )
    x, y = vectors(s)
    return Parts(model, ((x, x.flip(0)), y))


@kind
def unused_branches_and_frozen_parts(s: Size) -> Parts:
    model = Net(
        lambda m, x: m.head(F.relu(m.frozen(x))), frozen=nn.Linear(s.width, s.width).requires_grad_(False),
        idle=nn.Linear(s.width, s.width), head=nn.Linear(s.width, CLASSES),
    )  # fmt: skip
    return Parts(model, vectors(s))


@kind
def data_dependent_control_flow(s: Size) -> Parts:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        x = m.one(x) if float(x.mean()) > 0 else m.other(x)
        steps = 0
        while float(x.detach().abs().max()) > 1 and steps < 5:
            x, steps = x / 2, steps + 1
        return m.head(x)

    parts = {name: nn.Linear(s.width, s.width) for name in ("one", "other")}
    return Parts(Net(forward, **parts, head=nn.Linear(s.width, CLASSES)), vectors(s))


@kind
def mixture_by_index(s: Size) -> Parts:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        chosen, out = m.router(x).argmax(-1), torch.zeros_like(x)
        for index, expert in enumerate(m.experts):
            rows = (chosen == index).nonzero().squeeze(1)
            out = out.index_add(0, rows, F.gelu(expert(x[rows])))
        return m.head(x + out)

    experts = nn.ModuleList(nn.Linear(s.width, s.width) for _ in range(3))
    model = Net(forward, router=nn.Linear(s.width, 3), experts=experts, head=nn.Linear(s.width, CLASSES))
    return Parts(model, vectors(s))


@kind
def state_of_its_own(s: Size) -> Parts:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        m.calls += 1
        m.seen = m.seen + 1
        with torch.no_grad():
            m.inner.weight.mul_(0.9)
            m.average.lerp_(x.mean(0), 0.1)
            x.clamp_(-2, 2)
        m.last = m.inner(x - m.average)
        m.history.append(m.last)
        return m.head(F.relu(m.last))

    model = Net(forward, inner=nn.Linear(s.width, s.width), head=nn.Linear(s.width, CLASSES), calls=0, history=[])
    model.register_buffer("seen", torch.zeros(()))
    model.register_buffer("average", torch.zeros(s.width))
    return Parts(model, vectors(s))


# --- parametrizations, checkpoints, functions of one's own


@kind
def weight_norm(s: Size) -> Parts:
    layers = [parametrizations.weight_norm(nn.Linear(s.width, s.width)), nn.ReLU()]
    return Parts(nn.Sequential(*layers, parametrizations.weight_norm(nn.Linear(s.width, CLASSES))), vectors(s))


@kind
def spectral_norm(s: Size) -> Parts:
    layers = [parametrizations.spectral_norm(nn.Linear(s.width, s.width)), nn.LeakyReLU(0.1)]
    return Parts(nn.Sequential(*layers, nn.Linear(s.width, CLASSES)), vectors(s))


@kind
def older_weight_and_spectral_norm(s: Size) -> Parts:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = nn.utils.weight_norm(nn.Linear(s.width, s.width))
        second = nn.utils.spectral_norm(nn.Linear(s.width, s.width))
    return Parts(nn.Sequential(first, nn.ReLU(), second, nn.Linear(s.width, CLASSES)), vectors(s))


@kind
def orthogonal_parametrization(s: Size) -> Parts:
    w = min(s.width, 32)
    layers = [nn.Linear(s.width, w), parametrizations.orthogonal(nn.Linear(w, w)), nn.Tanh(), nn.Linear(w, CLASSES)]
    return Parts(nn.Sequential(*layers), vectors(s))


@kind
def pruned(s: Size) -> Parts:
    linear = nn.Linear(s.width, s.width)
    prune.l1_unstructured(linear, "weight", 0.5)
    return Parts(nn.Sequential(linear, nn.ReLU(), nn.Linear(s.width, CLASSES)), vectors(s))


def _block(s: Size) -> nn.Sequential:
    return nn.Sequential(nn.Linear(s.width, s.width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(s.width, s.width))


@kind
def checkpointed(s: Size) -> Parts:
    model = Net(lambda m, x: m.head(checkpoint(m.block, m.stem(x), use_reentrant=False)),
                stem=nn.Linear(s.width, s.width), block=_block(s), head=nn.Linear(s.width, CLASSES))  # fmt: skip
    return Parts(model, vectors(s))


@kind
def checkpointed_again(s: Size) -> Parts:
    model = Net(lambda m, x: m.head(checkpoint(m.block, m.stem(x), use_reentrant=True)),
                stem=nn.Linear(s.width, s.width), block=_block(s), head=nn.Linear(s.width, CLASSES))  # fmt: skip
    return Parts(model, vectors(s))


@kind
def checkpointed_sequence(s: Size) -> Parts:
    body = nn.Sequential(*[layer for _ in range(4) for layer in (nn.Linear(s.width, s.width), nn.Tanh())])
    model = Net(lambda m, x: m.head(checkpoint_sequential(m.body, 2, x, use_reentrant=False)),
                body=body, head=nn.Linear(s.width, CLASSES))  # fmt: skip
    return Parts(model, vectors(s))


class Straight(torch.autograd.Function):
    """The sign forward, the identity backward."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * (x.abs() <= 1)


@kind
def autograd_function(s: Size) -> Parts:
    model = Net(lambda m, x: m.head(Straight.apply(m.norm(m.inner(x)))), inner=nn.Linear(s.width, s.width),
                norm=nn.BatchNorm1d(s.width), head=nn.Linear(s.width, CLASSES))  # fmt: skip
    return Parts(model, vectors(s))


class Product(torch.autograd.Function):
    """A linear map as a function of one's own."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, w)
        return x @ w.t()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, w = ctx.saved_tensors
        return grads[0] @ w, grads[0].t() @ x


@kind
def autograd_function_with_weight(s: Size) -> Parts:
    model = Net(lambda m, x: m.head(F.relu(Product.apply(x, m.w))), w=weight(s.width, s.width),
                head=nn.Linear(s.width, CLASSES))  # fmt: skip
    return Parts(model, vectors(s))


@kind
def with_hooks_of_its_own(s: Size) -> Parts:
    model = nn.Sequential(nn.Linear(s.width, s.width), nn.ReLU(), nn.Linear(s.width, CLASSES))
    model[0].register_forward_hook(lambda _m, _i, out: out * 0.5)
    model[1].register_forward_pre_hook(lambda _m, args: (args[0] + 1,))
    model[2].register_full_backward_hook(lambda _m, grad_in, _g: grad_in)
    model[0].weight.register_hook(lambda grad: grad.clamp(-1, 1))
    return Parts(model, vectors(s))


# --- number formats and memory formats


@kind
def complex_numbers(s: Size) -> Parts:
    w = s.width // 2
    model = Net(
        lambda m, x: m.head(torch.fft.rfft(x)[..., :w].mul(m.filter).matmul(m.mix).abs()),
        filter=nn.Parameter(torch.randn(w, dtype=torch.complex64)),
        mix=nn.Parameter(torch.randn(w, w, dtype=torch.complex64) / w**0.5), head=nn.Linear(w, CLASSES),
    )  # fmt: skip
    return Parts(model, vectors(s))


def _typed(s: Size, dtype: torch.dtype) -> Parts:
    parts = mlp(s)
    x, y = parts.batch
    return Parts(parts.model.to(dtype), (x.to(dtype), y))


@kind
def float64(s: Size) -> Parts:
    return _typed(s, torch.float64)


@kind
def bfloat16(s: Size) -> Parts:
    return _typed(s, torch.bfloat16)


@kind
def float16(s: Size) -> Parts:
    return _typed(s, torch.float16)


def _autocast(s: Size, dtype: torch.dtype) -> Parts:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=dtype):
            return m.body(x).float()

    return Parts(Net(forward, body=mlp(s).model), vectors(s))


@kind
def autocast_float16(s: Size) -> Parts:
    return _autocast(s, torch.float16)


@kind
def autocast_bfloat16(s: Size) -> Parts:
    return _autocast(s, torch.bfloat16)


@kind
def channels_last(s: Size) -> Parts:
    parts = residual_blocks(s)
    x, y = parts.batch
    last = torch.channels_last
    return Parts(parts.model.to(memory_format=last), (x.contiguous(memory_format=last), y))


@kind
def sparse_embedding(s: Size) -> Parts:
    model = Net(
        lambda m, ids: m.head(m.embed(ids).mean(1) + m.bag(ids)),
        embed=nn.Embedding(50, s.width, sparse=True),
        bag=nn.EmbeddingBag(50, s.width, mode="sum", sparse=True),
        head=nn.Linear(s.width, CLASSES),
    )
    return Parts(model, tokens(s))


# --- wrappers


@kind
def lazy_modules(s: Size) -> Parts:
    layers = [nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(CLASSES)]
    return Parts(nn.Sequential(*layers), images(s))


@kind
def compiled(s: Size) -> Parts:
    return Parts(torch.compile(mlp(s).model), vectors(s))  # type: ignore[arg-type]


@kind
def compiled_inside(s: Size) -> Parts:
    model = Net(lambda m, x: m.head(m.body(x)), body=torch.compile(_block(s)), head=nn.Linear(s.width, CLASSES))
    return Parts(model, vectors(s))


@kind
def scripted(s: Size) -> Parts:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Parts(torch.jit.script(mlp(s).model), vectors(s))


@kind
def data_parallel(s: Size) -> Parts:
    return Parts(nn.DataParallel(mlp(s).model), vectors(s))


# --- inputs and outputs


@kind
def returns_its_loss(s: Size) -> Parts:
    def forward(m: Any, features: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = m.body(features)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}

    return Parts(Net(forward, body=mlp(s).model), dict(zip(("features", "labels"), vectors(s), strict=True)))


class Outputs(NamedTuple):
    logits: torch.Tensor
    aside: dict[str, list[torch.Tensor]]


@kind
def nested_outputs(s: Size) -> Parts:
    def forward(m: Any, x: torch.Tensor) -> Outputs:
        h = F.relu(m.body(x))
        return Outputs(m.head(h), {"hidden": [h, m.extra(h)]})

    model = Net(forward, body=nn.Linear(s.width, s.width), head=nn.Linear(s.width, CLASSES),
                extra=nn.Linear(s.width, 1))  # fmt: skip
    return Parts(model, vectors(s), lambda o, t: F.cross_entropy(o.logits, t) + o.aside["hidden"][1].pow(2).mean())


@kind
def variational(s: Size) -> Parts:
    def forward(m: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mean, log_var = m.encode(x).chunk(2, -1)
        return m.decode(mean + torch.randn_like(mean) * (log_var / 2).exp()), mean, log_var

    def loss(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        out, mean, log_var = outputs
        return F.mse_loss(out, targets) - 0.5 * (1 + log_var - mean**2 - log_var.exp()).mean()

    x, _ = vectors(s)
    return Parts(Net(forward, encode=nn.Linear(s.width, 16), decode=nn.Linear(8, s.width)), (x, x), loss)


@kind
def adversarial_pair(s: Size) -> Parts:
    model = Net(
        lambda m, x: m.critic(m.maker(x)),
        maker=nn.Sequential(nn.Linear(s.width, s.width), nn.Tanh()),
        critic=nn.Sequential(nn.Linear(s.width, s.width), nn.LeakyReLU(0.2), nn.Linear(s.width, 1)),
    )
    x, _ = vectors(s)
    return Parts(model, x, forward=lambda m, b: F.binary_cross_entropy_with_logits(m(b), torch.ones(len(b), 1)))


@kind
def gradient_inside_the_forward(s: Size) -> Parts:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        x = x.detach().requires_grad_()
        energy = m.energy(x).pow(2).sum()
        (force,) = torch.autograd.grad(energy, x, create_graph=True)
        return m.head(force)

    model = Net(forward, energy=nn.Sequential(nn.Linear(s.width, s.width), nn.Tanh()),
                head=nn.Linear(s.width, CLASSES))  # fmt: skip
    return Parts(model, vectors(s))


@kind
def second_derivative_transform(s: Size) -> Parts:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(m.body, dict(m.body.named_parameters()), (x,))

    return Parts(Net(forward, body=mlp(s).model), vectors(s))


@kind
def mapped_over_samples(s: Size) -> Parts:
    model = Net(lambda m, x: torch.func.vmap(m.body)(x), body=mlp(s).model)
    return Parts(model, vectors(s))
