"""What a recording is made of: immutable, serialisable records, without torch.

Every number is a plain Python float over *finite* values; what was not finite is counted beside it. A figure
that does not apply is ``None``. Layers stand in execution order and refer to each other by position.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from gainstage.trace import graph, serialization
from gainstage.trace.norm_records import NormRecord
from gainstage.trace.target_records import (
    AskedLoss,
    CrossingRecord,
    FurtherLabels,
    LabelRecord,
    LeakRecord,
    PriorRecord,
)
from gainstage.trace.training_records import MixingRecord, OptimizerRecord, StepRecord, ThroughTimeRecord, TrialRecord

SCHEMA_VERSION = 1

LayerKind = Literal["linear", "conv", "norm", "activation", "embedding", "attention", "other"]


@dataclass(frozen=True)
class LayerRecord:
    """One layer's work in one call: a parameterised map, a norm, an activation, an attention or a sum.

    Attributes:
        name: Dotted path, unique in the trace: of the parameter's owner for maps (``encoder.0``), of the module
            for module activations, ``module:op`` for an operation called as a function; ``#2`` marks the
            second call.
        kind: The coarse kind of the contract.
        op: The operation (``linear``, ``conv2d``, ``relu``, ``batch_norm``, ``add``, ``softmax``, ...).
        module: Dotted path of the module in which it ran; ``""`` is the root.
        shape: Of the output.
        inputs: Positions in `Trace.layers` of the layers whose output this one reads, directly or through
            operations without a record.
        via: Those operations, if they change values (``max_pool2d``, ``dropout``, ``mul``).
        modifiers: The parameters that those operations applied, as (operation, full path): scalars and vectors such
            as SkipInit's α, which are no layers of their own.
        parameters: Full paths of the parameters that it reads, the weight first.
        attributes: Numbers that the operation was called with (``negative_slope``, ``groups``, ``dim``); of a padded
            convolution also ``coverage``, the share of its taps that lie on its input.
        batch_size: Length of the first dimension, None for a scalar.
        input_rms: rms of what a parameterised map reads.
        mean, std, rms, max_abs, zero_fraction: Over all finite values of the output; std is the population's.
        saturated_fraction: Share of outputs on a plateau (|φ'| < 0.05 of its maximum), for bounded activations.
        dead_fraction: Share of units (channels) that are zero in every sample and position, for rectifiers.
        channel_mean_rms, channel_std: rms over channels of the channel's mean; rms of the channels' std.
        stable_rank: ‖H‖²_F / ‖H‖²_2 of the (samples x features) output, from a bounded projection.
        similarity: Mean cosine between two samples' outputs, from the same projection.
        grad_rms, grad_max_abs: Of the loss's gradient with respect to the output.
        dead_gradient_fraction: Share of units whose gradient is zero in every sample and position.
        weight_std, weight_rms, weight_mean, bias_rms, weight_grad_rms: Of the parameters as they are now.
        fan_in, fan_out: Of one output unit, per group and per packed projection.
        computed: Whether a map's weight is computed from its parameters (weight norm, a scale) and none of them.
        non_finite: How many output values are NaN or infinite.
        norm: Facts of a normalization, else None.
        dtype: Of the output, as it ran (under autocast not that of the weights).
    """

    name: str
    kind: LayerKind
    op: str
    module: str
    shape: tuple[int, ...]
    inputs: tuple[int, ...] = ()
    via: tuple[str, ...] = ()
    modifiers: tuple[tuple[str, str], ...] = ()
    parameters: tuple[str, ...] = ()
    attributes: dict[str, float] | None = None
    batch_size: int | None = None
    input_rms: float | None = None
    mean: float | None = None
    std: float | None = None
    rms: float | None = None
    max_abs: float | None = None
    zero_fraction: float | None = None
    saturated_fraction: float | None = None
    dead_fraction: float | None = None
    channel_mean_rms: float | None = None
    channel_std: float | None = None
    stable_rank: float | None = None
    similarity: float | None = None
    grad_rms: float | None = None
    grad_max_abs: float | None = None
    dead_gradient_fraction: float | None = None
    weight_std: float | None = None
    weight_rms: float | None = None
    weight_mean: float | None = None
    bias_rms: float | None = None
    weight_grad_rms: float | None = None
    fan_in: float | None = None
    fan_out: float | None = None
    computed: bool = False
    non_finite: int = 0
    grad_non_finite: int = 0
    norm: NormRecord | None = None
    dtype: str = "float32"

    @property
    def finite(self) -> bool:
        """Whether every output value and every gradient value was finite."""
        return self.non_finite == 0 and self.grad_non_finite == 0

    @property
    def count(self) -> int:
        """Number of output values."""
        total = 1
        for size in self.shape:
            total *= size
        return total

    @property
    def sample_grad_norm(self) -> float | None:
        """Root mean square over samples of ‖∂L/∂h‖: comparable between layers of different width."""
        if self.grad_rms is None or not self.batch_size:
            return None
        return self.grad_rms * (self.count / self.batch_size) ** 0.5


@dataclass(frozen=True)
class ParameterRecord:
    """A parameter as it is now.

    Attributes:
        name: Full dotted path, the first of them if it is shared.
        equal_units: All rows (output units) hold the same values; None below two dimensions or two rows.
        grad_rms: None where no gradient arrived.
        grad_equal_units: All rows of the gradient are equal.
        used: Whether the forward pass read it.
        twin: The first parameter that holds just the same values, of two dimensions or more and drawn at random (not
            constant, and not mostly so); None where there is none, and of that first one.
        twin_gradient: Whether its gradient is that of its twin, up to rounding; None where one of them has none, or
            zeros.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    requires_grad: bool
    used: bool
    mean: float
    std: float
    rms: float
    max_abs: float
    non_finite: int = 0
    equal_units: bool | None = None
    grad_rms: float | None = None
    grad_max_abs: float | None = None
    grad_equal_units: bool | None = None
    twin: str | None = None
    twin_gradient: bool | None = None


@dataclass(frozen=True)
class TensorRecord:
    """A tensor of the batch, or of the model's output.

    Attributes:
        name: Where it stands in the batch (``inputs``, ``inputs[1]``, ``input_ids``).
        feature_mean_max: Largest |mean| of a feature; features are dimension 1 (channels), or the last of three.
        feature_std_min, feature_std_max: Over the features that vary.
        constant_features: How many features have one value throughout.
        distinct: Number of distinct values for integer tensors, counted up to 1000.
        same_samples: Whether all samples (along dimension 0) are equal; None with fewer than two.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    mean: float | None = None
    std: float | None = None
    rms: float | None = None
    min: float | None = None
    max: float | None = None
    non_finite: int = 0
    features: int | None = None
    feature_mean_max: float | None = None
    feature_std_min: float | None = None
    feature_std_max: float | None = None
    constant_features: int | None = None
    distinct: int | None = None
    same_samples: bool | None = None


@dataclass(frozen=True)
class LossPart:
    """One of a loss's operations that has a name of its own, as where a loss adds up several.

    Attributes:
        op: Its name (``mse_loss``).
        input: Position of the layer whose output it reads.
        via: Operations without a record between that layer and it.
    """

    op: str
    input: int
    via: tuple[str, ...] = ()


@dataclass(frozen=True)
class LossRecord:
    """How the loss came about.

    Attributes:
        name: What was chosen or given (``cross_entropy``, ``model``, ``CrossEntropyLoss``).
        chosen: True when gainstage chose it because none was given.
        ops: The loss operations seen, in order (``log_softmax``, ``nll_loss``).
        input: Position of the layer whose output the loss reads, or None.
        via: Operations without a record between that layer and the loss.
        labels: What the first loss of classes or probabilities was given; None where there was none.
        crossing: Predictions and targets that were not paired, if there are any.
        of_torch: Whether the name is one of torch's own, and means what it says.
        squashes_sum: Whether it squashes a single number by a sigmoid, which was summed up over all samples.
        parts: The operations that have a name of their own, in order; `input` and `via` are those of the first of all.
        contrary: Whether right answers cost more than wrong ones, where the loss was asked for both.
        singular: Whether the loss of sure answers, or its gradient, is not finite, where it was asked for them.
        indifferent: Whether it was the same for all outputs that it was asked for.
        asked: What a loss that none of these operations names takes; None where one does, or where it did not tell.
        prior: What it takes for a code, where the outputs are a reconstruction and a code, as of a variational
            autoencoder.
    """

    name: str
    chosen: bool
    ops: tuple[str, ...] = ()
    input: int | None = None
    via: tuple[str, ...] = ()
    labels: LabelRecord | None = None
    crossing: CrossingRecord | None = None
    parts: tuple[LossPart, ...] = ()
    contrary: bool = False
    singular: bool = False
    indifferent: bool = False
    asked: AskedLoss | None = None
    prior: PriorRecord | None = None
    of_torch: bool = False
    squashes_sum: bool = False


@dataclass(frozen=True)
class NonFiniteRecord:
    """The operation that first produced a NaN or an infinity from finite inputs, or NaN from infinite ones.

    Attributes:
        op: Its name.
        module: The module it ran in.
        phase: ``forward``, ``loss``, ``backward``, ``parameter`` or ``input``.
        kind: ``nan`` or ``inf``.
        count: How many values.
        dtype: Of its output.
        input_max_abs: Largest magnitude among its inputs, None where it has none.
        masked: Whether its inputs held infinities, as a mask puts there on purpose.
    """

    op: str
    module: str
    phase: str
    kind: str
    count: int
    dtype: str
    input_max_abs: float | None = None
    masked: bool = False


@dataclass(frozen=True)
class UnregisteredRecord:
    """A parameter that the model reads and does not list among its parameters.

    Attributes:
        module: Dotted path of the module in which it was read; ``""`` is the root.
        held: Whether the optimizer holds it all the same.
    """

    module: str
    shape: tuple[int, ...]
    held: bool = False


@dataclass(frozen=True)
class ReshapeRecord:
    """A view or reshape to the sizes of a transposed tensor.

    Attributes:
        module: In which it ran; ``""`` is the root, and the loss.
        before, after: The sizes.
        in_loss: Whether it is one of (samples, channels, places) to rows of so many values as there are channels,
            which the loss is wont to do, or the model last.
    """

    module: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    in_loss: bool = False


@dataclass(frozen=True)
class DropoutRecord:
    """A dropout module that ran in training mode, and the share of values that it drops."""

    module: str
    share: float


@dataclass(frozen=True)
class Trace:
    """Everything one forward and backward pass showed.

    Attributes:
        layers: In execution order.
        loss: Its value; NaN or infinite if that is what it was.
        training: The root's mode; ``eval_modules`` are the modules that are in eval mode all the same.
        without_grad: Parameters of maps that ran while gradients were switched off.
        further: Labels of the batches after the first, read where that has one label alone.
        leak: What outputs have seen of their targets; None where those are no inputs.
        returned: Positions of the layers whose output, or what was made of it, the model returned.
        dropouts: In the order in which they ran first.
        dropped_in_eval: How many times a pass in eval mode drops values at random.
        flat_derivatives: How many times a derivative that the model or the loss takes was zero before a rectifier.
        through_time: Of recurrent layers, where a trial was made.
        reshapes: Views and reshapes that look like transpositions, the same for another number of samples.
        unregistered: Parameters that were read with gradients switched on and are none of the model's.
        skipped: What could not be measured, with the reason, one line each.
        world_size: Number of processes in the group that trains copies of the model, or in the default group; None
            outside of one.
    """

    layers: tuple[LayerRecord, ...]
    loss: float
    name: str = ""
    training: bool = True
    backward: bool = True
    parameters: tuple[ParameterRecord, ...] = ()
    inputs: tuple[TensorRecord, ...] = ()
    targets: tuple[TensorRecord, ...] = ()
    outputs: tuple[TensorRecord, ...] = ()
    loss_record: LossRecord | None = None
    first_non_finite: NonFiniteRecord | None = None
    optimizer: OptimizerRecord | None = None
    step: StepRecord | None = None
    trial: TrialRecord | None = None
    mixing: MixingRecord | None = None
    further: tuple[FurtherLabels, ...] = ()
    leak: LeakRecord | None = None
    eval_modules: tuple[str, ...] = ()
    without_grad: tuple[str, ...] = ()
    returned: tuple[int, ...] = ()
    dropouts: tuple[DropoutRecord, ...] = ()
    dropped_in_eval: int = 0
    flat_derivatives: int = 0
    through_time: tuple[ThroughTimeRecord, ...] = ()
    reshapes: tuple[ReshapeRecord, ...] = ()
    unregistered: tuple[UnregisteredRecord, ...] = ()
    skipped: tuple[str, ...] = ()
    world_size: int | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def residuals(self) -> tuple[graph.Residual, ...]:
        """The residual blocks, in order of execution."""
        return graph.residuals(self.layers)

    def to_rows(self) -> list[dict[str, object]]:
        """One flat dict a layer, ready for ``pandas.DataFrame`` or ``polars.DataFrame``."""
        rows: list[dict[str, object]] = []
        for layer in self.layers:
            row: dict[str, object] = asdict(layer)
            norm = row.pop("norm") or {}
            row.pop("attributes")
            row["finite"] = layer.finite
            for key in ("shape", "inputs", "via", "parameters"):
                row[key] = list(row[key])  # type: ignore[call-overload]  # tuples, all of them
            row["modifiers"] = [f"{op} {parameter}" for op, parameter in layer.modifiers]
            if isinstance(norm, dict):
                row.update({f"norm_{key}": value for key, value in norm.items()})
            rows.append(row)
        return rows

    def to_json(self) -> str:
        """Lossless JSON; figures that are None are left out."""
        return serialization.to_json(self)

    @classmethod
    def from_json(cls, text: str) -> Trace:
        """The inverse of `to_json`.

        Raises:
            InputError: if the text is not a trace, or one of another schema version.
        """
        return serialization.from_json(text, cls, SCHEMA_VERSION)
