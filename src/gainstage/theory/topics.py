"""What theory can explain by name: a formula, where it holds, a table computed on the spot, and its sources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gainstage.theory import topic_tables
from gainstage.theory.topic_tables import Table


@dataclass(frozen=True)
class Topic:
    """One entry of `TOPICS`.

    Attributes:
        name: As it is asked for.
        title: One line.
        formula: Lines of the equations.
        meaning: What follows from them, in a few sentences.
        validity: Where they stop holding.
        table: Computes the figures that go with it.
        functions: What gives these figures for other cases.
        references: The sources.
        module: That has the functions.
    """

    name: str
    title: str
    formula: tuple[str, ...]
    meaning: str
    validity: str
    table: Callable[[], Table]
    functions: tuple[str, ...]
    references: tuple[str, ...]
    module: str = "gainstage.theory"


_POOLE = "Poole et al. 2016, Exponential expressivity in deep neural networks through transient chaos"
_SCHOENHOLZ = "Schoenholz et al. 2017, Deep information propagation"
_HANIN = "Hanin 2018, Which neural net architectures give rise to exploding and vanishing gradients?"
_NOTATION = "σ_w² = fan_in·Var W, σ_b² = Var b, z and its like standard normal"

TOPICS: tuple[Topic, ...] = (
    Topic(
        name="edge-of-chaos",
        title="The edge of chaos: where signal and gradient cross any depth",
        formula=(
            "q* = σ_w² E φ(√q* z)² + σ_b²",
            "χ₁ = σ_w² E φ′(√q* z)² = 1",
        ),
        meaning="χ₁ is the growth of the squared gradient from layer to layer, and of the distance of two similar "
        "inputs. Below 1 the network is ordered: gradients vanish and all inputs end up alike. Above 1 it is "
        "chaotic: gradients explode and similar inputs end up unrelated. Deep networks without norms or skips "
        "train near the line between.",
        validity=f"{_NOTATION}. Wide layers with independent, centred weights; no skip connections and no "
        "normalization. (Leaky) ReLU has one point of the edge, at σ_b² = 0, where every q is a fixed point.",
        table=topic_tables.edge_of_chaos,
        functions=("critical_point", "chi1", "q_fixed_point", "phase_diagram"),
        references=(_POOLE, _SCHOENHOLZ, "Hayou et al. 2019, On the impact of the activation function"),
    ),
    Topic(
        name="depth-scale",
        title="Depth scales: how many layers a signal survives",
        formula=(
            "ξ_c = -1/ln χ(c*), χ(c) = σ_w² E φ′(√q* z₁) φ′(√q* z₂)",
            "ξ_q = -1/ln(χ₁ + σ_w² E φ″φ)",
        ),
        meaning="What tells two inputs apart decays as exp(-depth/ξ_c), and a deviation of the variance from q* "
        "as exp(-depth/ξ_q). ξ_c is infinite on the edge of chaos; networks up to about 6 ξ_c deep can be trained.",
        validity=f"{_NOTATION}, z₁ and z₂ of correlation c*. Small deviations, infinite width, no skips or norms.",
        table=topic_tables.depth_scale,
        functions=("depth_scale_c", "depth_scale_q", "c_fixed_point", "depth_scales"),
        references=(_SCHOENHOLZ,),
    ),
    Topic(
        name="q-map",
        title="The q-map: the variance of the preactivations from layer to layer",
        formula=("q′ = σ_w² E φ(√q z)² + σ_b²",),
        meaning="Its fixed point is where the variance of a deep network ends; its slope says how fast. ReLU's map "
        "is a straight line of slope σ_w²/2 through σ_b²: only σ_w² = 2 (He) neither vanishes nor explodes, and "
        "torch's default of σ_w² = 1/3 divides the variance by six in each layer.",
        validity=f"{_NOTATION}. Exact for infinite width; see finite-width for the scatter of real layers.",
        table=topic_tables.q_map_table,
        functions=("q_map", "q_map_slope", "q_fixed_point", "q_map_curves"),
        references=(_POOLE, "He et al. 2015, Delving deep into rectifiers"),
    ),
    Topic(
        name="c-map",
        title="The c-map: the correlation of two inputs from layer to layer",
        formula=(
            "c′ = (σ_w² E φ(√q z₁) φ(√q z₂) + σ_b²)/q′",
            "ReLU, σ_b² = 0: c′ = (√(1 - c²) + c (π - arccos c))/π, and 1 - c → 9π²/(2 l²) after l layers",
        ),
        meaning="c = 1 is always a fixed point. With χ₁ ≤ 1 it is where all pairs end: the network forgets which "
        "input it was given. With χ₁ > 1 they end at a c* below it. ReLU at He's variance is on the edge, and "
        "approaches 1 slowly.",
        validity=f"{_NOTATION}, z₁ and z₂ of correlation c. Infinite width, both inputs of the same variance.",
        table=topic_tables.c_map_table,
        functions=("c_map", "chi", "c_fixed_point", "c_map_curves"),
        references=(_POOLE, "Cho and Saul 2009, Kernel methods for deep learning"),
    ),
    Topic(
        name="gain",
        title="The gain of an activation, and what it does to gradients",
        formula=(
            "std W = gain/√fan_in",
            "He gain = (E φ²)^(-1/2), normalizer-free gain = (Var φ)^(-1/2)",
            "χ₁ at the He gain = E φ′²/E φ²",
        ),
        meaning="A gain that keeps the variance keeps the gradient only for (leaky) ReLU: GELU's squared gradients "
        "grow by 7 % a layer, tanh's by 18 %. The normalizer-free gain goes with weights whose rows have mean 0.",
        validity="Preactivations of variance 1, and weights independent of them. A gain is computed for any "
        "elementwise callable: theory.he_gain(theory.activation_of(f)).",
        table=topic_tables.gain,
        functions=("he_gain", "nf_gain", "chi1_at_he_gain", "activation_of", "preserving_weight_var"),
        references=("He et al. 2015", "Brock et al. 2021, Characterizing signal propagation"),
    ),
    Topic(
        name="gradient-norm-of-batch-norm",
        title="Batch norm makes gradients explode with depth, at any initial scale",
        formula=(
            "growth a layer = E φ′²/Var φ: π/(π - 1) for ReLU, 1 for a linear network (large batches)",
            "linear network, B samples: (B - 2)/(B - 3)",
        ),
        meaning="Squared gradients of linear map, batch norm and ReLU grow by 47 % a layer towards the input, and "
        "no choice of the weights' scale changes it: the norm divides it out. Skip connections do.",
        validity="No skips, width far above the batch, samples that differ. Without the bottom layer, whose inputs "
        "were not activated: its factor is 1/2 for ReLU.",
        table=topic_tables.batch_norm,
        functions=("batch_norm_gradient_factor", "predict", "Norm"),
        references=("Yang et al. 2019, A mean field theory of batch normalization",),
    ),
    Topic(
        name="residual-branch-scale",
        title="The branch scale of residual networks: α near 1/√depth",
        formula=(
            "h ← h + α f(h): E h² and the squared gradient grow by 1 + α² χ a block",
            "critical α = √((g^(1/L) - 1)/χ) → √(ln g/(χ L)) for a growth of g over L blocks",
            "f that starts with a norm: E h² = E h₀² + α² L",
        ),
        meaning="With α = 1 and He weights E h² doubles in each block. With α = 1/√L it grows by a factor e in all, "
        "at any depth. A norm at the start of each branch makes the growth linear instead.",
        validity="Branches that preserve the variance (χ = 1) and end in an independent, centred map; positively "
        "homogeneous activations without biases.",
        table=topic_tables.residual,
        functions=("critical_residual_scale", "residual_second_moments", "residual_gradient_growth", "Residual"),
        references=(
            "Yang and Schoenholz 2017, Mean field residual networks: on the edge of chaos",
            "Zhang et al. 2019, Fixup initialization",
            "De and Smith 2020, Batch normalization biases residual blocks towards the identity function",
        ),
    ),
    Topic(
        name="finite-width",
        title="Finite width: how far a real network may lie from the prediction",
        formula=(
            "Var ln‖h_L‖² = Σ s² κ/n, κ = E φ⁴/(E φ²)² - 1",
            "ReLU at He's variance: 5 Σ 1/n; linear: 2 Σ 1/n",
        ),
        meaning="Scatter is set by depth over width, and it is a tolerance: a level within the band is no fault of "
        "the initialization, and a network with depth near width has no typical scale at all.",
        validity="First order in 1/width: widths of about 30 and more, and a variance of the logarithm of up to "
        "about 2. One sample, weights independent.",
        table=topic_tables.finite_width,
        functions=("log_q_variance", "propagate", "gradient_band", "predict"),
        references=(_HANIN, "Hanin and Rolnick 2018, How to start training"),
    ),
    Topic(
        name="fans",
        title="Fan-in and fan-out: what an output sums, and what an input reaches",
        formula=(
            "convolution: fan_in = C_in/groups·k, fan_out = C_out/groups·k/stride",
            "transposed: fan_in = C_in/groups·k/stride, fan_out = C_out/groups·k",
            "Var h = fan_in·Var W·E x²; std of He: √(2/fan_in); of torch's default: 1/√(3 fan_in)",
        ),
        meaning="The fan-in sets the scale of the signal, the fan-out that of the gradient. torch's fan_out ignores "
        "groups: 576 for a depthwise 3 x 3 over 64 channels, where each input reaches 9 outputs. Projections that "
        "are packed in one weight have the fans of each part. torch's default is a sixth of He's variance.",
        validity="Averages over positions, without what padding takes away; k and stride are products over the "
        "dimensions of the kernel.",
        table=topic_tables.fans_table,
        functions=("fans",),
        references=("Glorot and Bengio 2010", "He et al. 2015", "pytorch issues 23854 and 166378"),
        module="gainstage.numerics",
    ),
)
