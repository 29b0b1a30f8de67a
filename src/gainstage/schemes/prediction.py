"""What theory says of a traced network, layer by layer, held against what was measured.

Forwards each layer is predicted from the prediction of what it reads, backwards from what reads it, with the weights
as they are. Where an operation is beyond theory the prediction starts again from the measured value, and says so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gainstage import theory
from gainstage.errors import InputError
from gainstage.schemes.streams import MAPS
from gainstage.theory.finite_width import band
from gainstage.theory.scatter import Scatter, transfer_of
from gainstage.theory.signals import Signal, passed
from gainstage.theory.stages import SMALLEST_STATISTIC, Activate, Affine, Stage
from gainstage.trace.graph import consumers
from gainstage.trace.records import LayerRecord, Trace

# What ε and float32 take from a level that theory has exactly, as behind a norm.
ROUNDING = 2e-3
# Their gradient goes only where their input was largest, so that it knows the signs of what is before them.
_SELECTIVE = ("max_pool", "adaptive_max_pool", "amax", "max")


@dataclass(frozen=True)
class Prediction:
    """A layer's level and that of its gradient, as predicted and as measured.

    Attributes:
        layer: Its name in the trace.
        rms, low, high: Predicted rms of its output, and the band of finite width; None where theory has nothing to say.
        measured: The rms of its output.
        restart: Why the prediction starts again from the measured value at this layer, or "".
        grad_rms, grad_low, grad_high, grad_measured, grad_restart: The same of the gradient at its output.
    """

    layer: str
    rms: float | None = None
    low: float | None = None
    high: float | None = None
    measured: float | None = None
    restart: str = ""
    grad_rms: float | None = None
    grad_low: float | None = None
    grad_high: float | None = None
    grad_measured: float | None = None
    grad_restart: str = ""

    @property
    def inside(self) -> bool | None:
        """Whether the measured rms lies within the band; None without one."""
        return _within(self.low, self.measured, self.high)

    @property
    def grad_inside(self) -> bool | None:
        """Whether the measured rms of the gradient lies within the band; None without one."""
        return _within(self.grad_low, self.grad_measured, self.grad_high)


@dataclass(frozen=True)
class _State:
    """What is known of a layer's output: at infinite width, and its scatter."""

    signal: Signal
    scatter: Scatter


class _BeyondTheoryError(Exception):
    """Says, in a few words, what theory has nothing to say about."""


def predict(trace: Trace, *, z_score: float = 3.0) -> tuple[Prediction, ...]:
    """Predicts the rms of every layer's output and of its gradient, with the weights as they are.

    Args:
        trace: Of one pass of the model.
        z_score: Half the band's width in standard deviations; 3 takes in 99.7 %.

    Returns:
        One prediction a layer, in execution order.

    Validity:
        Weights that are independent and centred: a network as it is initialized. As for `gainstage.theory.propagate`.

    Example:
        >>> import torch, gainstage as gs
        >>> _ = torch.manual_seed(0)
        >>> layers = [torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 256)]
        >>> [found.inside for found in predict(gs.record(torch.nn.Sequential(*layers), torch.randn(64, 256)))]
        [True, True, True]

    References:
        Poole et al. 2016; Schoenholz et al. 2017; Hanin and Rolnick 2018.
    """
    forward = _Forward(trace)
    states = [forward.step(position) for position in range(len(trace.layers))]
    backward = _Backward(trace, [state for state, _ in states])
    found: list[Prediction] = []
    for position, layer in enumerate(trace.layers):
        state, why = states[position]
        level = None if why or state is None else _band(state.signal.square, state.scatter, z_score)
        gradient, grad_why = backward.levels[position]
        grad_level = None if grad_why or gradient is None else _band(*gradient, z_score)
        found.append(
            Prediction(
                layer.name, *(level or (None, None, None)), layer.rms, why,
                *(grad_level or (None, None, None)), layer.grad_rms, grad_why,
            )
        )  # fmt: skip
    return tuple(found)


def _band(square: float, scatter: Scatter, z_score: float) -> tuple[float, float, float] | None:
    if not 0 < square < math.inf:
        return None
    level = band(square, scatter.drift, scatter.variance, z_score)
    return level.rms, level.low * (1 - ROUNDING), level.high * (1 + ROUNDING)


def _within(low: float | None, measured: float | None, high: float | None) -> bool | None:
    return None if low is None or high is None or measured is None else low <= measured <= high


class _Forward:
    """The prediction on its way up."""

    def __init__(self, trace: Trace) -> None:
        self.layers = trace.layers
        self.parameters = {parameter.name: parameter for parameter in trace.parameters}
        self.states: list[_State | None] = []

    def step(self, position: int) -> tuple[_State | None, str]:
        """The state behind the layer, and why it is the measured one, or ""."""
        layer = self.layers[position]
        try:
            state, why = self._predicted(layer), ""
        except (_BeyondTheoryError, InputError) as error:
            state, why = self._measured(layer), str(error).partition(". ")[0]
        self.states.append(state)
        return state, why

    def _measured(self, layer: LayerRecord) -> _State | None:
        """A start from the measured value; a map's output is normal, whatever it reads."""
        if layer.rms is None or not layer.rms < math.inf:
            return None
        gaussian = layer.kind in MAPS or layer.kind == "norm"
        mean = 0.0 if gaussian or layer.mean is None else layer.mean
        signal = Signal(_width(layer), layer.rms**2, _bounded(mean, layer.rms), mean**2, gaussian=gaussian)
        return _State(signal, Scatter())

    def _predicted(self, layer: LayerRecord) -> _State:
        if layer.kind in MAPS:
            return self._map(layer)
        if layer.kind == "embedding":
            weight = self.parameters[layer.parameters[0]]
            return _State(Signal(_width(layer), weight.rms**2, gaussian=True), Scatter(variance=2 / _width(layer)))
        if layer.kind == "norm":
            return self._norm(layer)
        if layer.kind == "activation":
            return self._activation(layer)
        if layer.op == "add" and not layer.parameters:
            return self._sum(layer)
        raise _BeyondTheoryError(f"{layer.op} is beyond theory")

    def _source(self, layer: LayerRecord) -> _State:
        """The state of what the layer reads, as it is."""
        if layer.via:
            raise _BeyondTheoryError(f"reads its input through {layer.via[-1]}")
        state = self.states[layer.inputs[0]] if len(layer.inputs) == 1 else None
        if state is None:
            raise _BeyondTheoryError("nothing is known of what it reads")
        return state

    def _map(self, layer: LayerRecord) -> _State:
        if layer.computed or layer.op == "bilinear":
            raise _BeyondTheoryError("its weight is computed")
        if "#" in layer.name:
            raise _BeyondTheoryError("its weight has been used before, and its input knows it")
        try:
            source = self._source(layer)
        except _BeyondTheoryError:
            # Where its input cannot be predicted it has been measured.
            if layer.input_rms is None or not layer.input_rms > 0:
                raise
            source = _State(Signal(layer.fan_in or 1.0, layer.input_rms**2), Scatter())
        if not layer.fan_in or layer.weight_rms is None:
            raise _BeyondTheoryError("its weight is not known")
        weight_var = layer.fan_in * layer.weight_rms**2 * (layer.attributes or {}).get("coverage", 1.0)
        stage = Affine(_units(layer), weight_var, (layer.bias_rms or 0.0) ** 2)
        return self._behind(stage, source)

    def _behind(self, stage: Stage, source: _State) -> _State:
        signal = passed(stage, source.signal)
        return _State(signal, source.scatter.after(transfer_of(stage, source.signal, signal)))

    def _activation(self, layer: LayerRecord) -> _State:
        act = theory.activation(layer.op, **(layer.attributes or {}))
        return self._behind(Activate(act), self._source(layer))

    def _norm(self, layer: LayerRecord) -> _State:
        norm = layer.norm
        if norm is None or not norm.uses_batch_statistics:
            raise _BeyondTheoryError("it norms by running averages")
        scale = 1.0 if norm.scale_rms is None else norm.scale_rms
        shift = self.parameters[layer.parameters[1]].rms if len(layer.parameters) > 1 else 0.0
        try:
            source = self._source(layer)
        except _BeyondTheoryError:
            source = None
        spread = None if source is None else source.signal.square
        before = self.layers[layer.inputs[0]] if len(layer.inputs) == 1 and not layer.via else None
        if norm.type in ("batch", "instance") and before is not None and before.channel_std is not None:
            spread = before.channel_std**2  # less what all samples share, which depends on the batch
        if spread is not None and norm.eps > ROUNDING * spread:
            raise _BeyondTheoryError("its ε is not small beside the variance that it norms")
        square = scale**2 + shift**2
        signal = Signal(_width(layer), square, 0.0, 0.0, gaussian=True, centred=norm.type == "layer")
        # What the mean square of all of a statistic's values is, is not left to chance.
        values = min(norm.values_per_statistic, _width(layer))
        return _State(signal, Scatter(variance=(shift**2 / square) * 2 / max(1.0, values) if square else 0.0))

    def _sum(self, layer: LayerRecord) -> _State:
        if layer.via or len(layer.inputs) != 2:
            raise _BeyondTheoryError("its terms are not layers as they are")
        terms = [self.states[position] for position in layer.inputs]
        one, other = terms
        if one is None or other is None:
            raise _BeyondTheoryError("nothing is known of one of its terms")
        square = one.signal.square + other.signal.square + 2 * one.signal.mean * other.signal.mean
        if not square > 0:
            raise _BeyondTheoryError("both of its terms are zero")
        shares = one.signal.square / square, other.signal.square / square
        mixed = 4 * shares[0] * shares[1] / _width(layer)
        variance = shares[0] ** 2 * one.scatter.variance + shares[1] ** 2 * other.scatter.variance + mixed
        drift = shares[0] * one.scatter.drift + shares[1] * other.scatter.drift
        signal = Signal(
            _width(layer), square, _bounded(one.signal.mean + other.signal.mean, math.sqrt(square)), 0.0,
            gaussian=one.signal.gaussian and other.signal.gaussian,
        )  # fmt: skip
        return _State(signal, Scatter(drift, variance))


GradientLevel = tuple[float, Scatter]


class _Backward:
    """The prediction on its way down: mean squares of gradients at the layers' outputs."""

    def __init__(self, trace: Trace, states: Sequence[_State | None]) -> None:
        self.layers, self.states = trace.layers, states
        self.read_by = consumers(trace.layers)
        self.uses = Counter(_weight_of(layer) for layer in trace.layers if layer.kind in MAPS)
        self.levels: list[tuple[GradientLevel | None, str]] = [(None, "")] * len(trace.layers)
        for position in range(len(trace.layers) - 1, -1, -1):
            self.levels[position] = self._level(position)

    def _level(self, position: int) -> tuple[GradientLevel | None, str]:
        layer = self.layers[position]
        if layer.grad_rms is None:
            return None, "no gradient was measured"
        try:
            if not self.read_by[position]:
                raise _BeyondTheoryError("what reads it is not a layer")
            terms = [self._through(position, reader) for reader in self.read_by[position]]
        except (_BeyondTheoryError, InputError) as error:
            return (layer.grad_rms**2, Scatter()), str(error).partition(". ")[0]
        total = sum(square for square, _ in terms)
        if total <= 0:
            return (layer.grad_rms**2, Scatter()), "the gradient vanishes"
        shares = [square / total for square, _ in terms]
        variance = sum(share**2 * scatter.variance for share, (_, scatter) in zip(shares, terms, strict=True))
        drift = sum(share * scatter.drift for share, (_, scatter) in zip(shares, terms, strict=True))
        return (total, Scatter(drift, variance)), ""

    def _through(self, position: int, reader: int) -> GradientLevel:
        """What arrives at a layer's output by one of its readers."""
        layer, above = self.layers[position], self.layers[reader]
        level, _ = self.levels[reader]
        if level is None:
            raise _BeyondTheoryError(f"nothing is known of the gradient at {above.name}")
        square, scatter = level
        if above.via:
            raise _BeyondTheoryError(f"{above.name} reads it through {above.via[-1]}")
        if above.op == "add" and not above.parameters and above.shape == layer.shape:
            return square, scatter
        if above.kind in MAPS and self.uses[_weight_of(above)] > 1:
            raise _BeyondTheoryError(f"the weight of {above.name} is used several times, and gradients know it")
        if above.kind in MAPS and not above.computed and above.fan_in and above.weight_rms is not None:
            taps = above.fan_in * (above.attributes or {}).get("coverage", 1.0)
            own = scatter.variance + 2 / _width(layer) + 2 / _width(above)
            return square * above.weight_rms**2 * taps * above.count / max(1, layer.count), Scatter(
                scatter.drift - 1 / _width(layer), own
            )
        state = self.states[position]
        if state is None:
            raise _BeyondTheoryError("nothing is known of its level")
        if above.kind == "activation" and self._selected(reader):
            raise _BeyondTheoryError(f"the gradient of {above.name} goes to the largest values")
        if above.kind == "activation" and state.signal.gaussian:
            act = theory.activation(above.op, **(above.attributes or {}))
            slope = theory.derivative_second_moment(act, state.signal.square)
            return square * slope, Scatter(scatter.drift, scatter.variance + 2 / _width(layer))
        if above.kind == "norm" and above.norm is not None and above.norm.uses_batch_statistics:
            scale = 1.0 if above.norm.scale_rms is None else above.norm.scale_rms
            values = above.norm.values_per_statistic
            if values < SMALLEST_STATISTIC:
                raise _BeyondTheoryError(f"{above.name} norms too few values")
            variance = state.signal.square - (state.signal.mean**2 if above.norm.type != "rms" else 0.0)
            if above.norm.type in ("batch", "instance") and layer.channel_std is not None:
                # What all samples share it takes away first; how much that is depends on the batch.
                variance = layer.channel_std**2 * values / (values - 1)
            if variance <= 0:
                raise _BeyondTheoryError(f"{above.name} norms a constant")
            # Of N gradients two are lost to mean and variance; 1/s² of N values is (N-1)/(N-3) of 1/σ².
            kept = (values - 2) / (values - 3)
            own = scatter.variance + state.scatter.variance + 2 / _width(layer)
            return square * scale**2 * kept / (variance + above.norm.eps), Scatter(scatter.drift, own)
        raise _BeyondTheoryError(f"{above.op} is beyond theory")

    def _selected(self, position: int) -> bool:
        vias = (name for reader in self.read_by[position] for name in self.layers[reader].via)
        return any(name.startswith(_SELECTIVE) for name in vias)


def _weight_of(layer: LayerRecord) -> str:
    """A map's weight; the parts of a packed one are weights of their own."""
    return layer.name.partition("#")[0]


def _units(layer: LayerRecord) -> int:
    return max(1, int(_width(layer)))


def _width(layer: LayerRecord) -> float:
    """Units of a linear layer's output, channels of a convolution's."""
    if len(layer.shape) < 2:
        return float(layer.shape[0]) if layer.shape else 1.0
    return float(layer.shape[1] if len(layer.shape) >= 4 else layer.shape[-1])


def _bounded(mean: float, rms: float) -> float:
    return max(-rms, min(rms, mean))
