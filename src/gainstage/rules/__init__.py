"""Floor 4, the rules: a `Trace` in, findings out. `RULES` is the only registry.

A rule is a pure function with a page for its docstring; a file holds a family. To add one, write it in its
family's file and enter it here.
"""

from __future__ import annotations

from gainstage.errors import UnknownNameError
from gainstage.rules.activations import dead_units, saturated_units
from gainstage.rules.affine import missing_nonlinearity
from gainstage.rules.attention import attention_without_skip
from gainstage.rules.base import Example, Finding, NotAssessed, Rule, Threshold
from gainstage.rules.biases import bias_init
from gainstage.rules.clones import cloned_layers
from gainstage.rules.data import degenerate_input, input_scale
from gainstage.rules.decay import weight_decay
from gainstage.rules.depth import rank_collapse, residual_growth
from gainstage.rules.dropout import dropout_in_eval, heavy_dropout
from gainstage.rules.first_loss import initial_loss
from gainstage.rules.flat_derivatives import flat_derivatives
from gainstage.rules.gradients import gradient_explodes, gradient_vanishes, one_class_gradients
from gainstage.rules.held_parameters import missing_parameters
from gainstage.rules.hidden_softmax import hidden_softmax
from gainstage.rules.initialization import gain_mismatch, signal_explodes, signal_vanishes
from gainstage.rules.layout import scrambled_axes
from gainstage.rules.leaks import leaked_targets
from gainstage.rules.norm_batches import batch_norm_on_sequence, local_batch_norm
from gainstage.rules.norm_depth import deep_norm_no_skip
from gainstage.rules.norm_inputs import dead_channel, dropout_before_norm
from gainstage.rules.norm_parameters import decay_on_norm, zero_gamma
from gainstage.rules.norm_scale import norm_hides_scale
from gainstage.rules.normalization import bias_before_norm, degenerate_group, norm_frozen_in_training, tiny_batch_norm
from gainstage.rules.numbers import first_non_finite
from gainstage.rules.objective import posterior_collapse, wrong_sign
from gainstage.rules.output_loss import output_loss_mismatch
from gainstage.rules.packed_fans import packed_fans
from gainstage.rules.precision import gradient_underflow, overflow_headroom, rounded_updates
from gainstage.rules.ranking import ranked
from gainstage.rules.running_statistics import norm_momentum, shared_norm, train_eval_gap
from gainstage.rules.samples import ignored_input, mixed_samples
from gainstage.rules.steps import lr_too_high, lr_too_low
from gainstage.rules.symmetry import symmetric_init
from gainstage.rules.targets import bad_targets, target_scale
from gainstage.rules.through_time import gradient_fades_over_time
from gainstage.rules.trials import diverging, not_learning, oscillating
from gainstage.rules.unrelated_targets import unlearned_targets, unrelated_targets
from gainstage.rules.wiring import no_gradient

# In the order of the catalogue.
RULES: tuple[Rule, ...] = (
    symmetric_init,
    gain_mismatch,
    signal_vanishes,
    signal_explodes,
    bias_init,
    initial_loss,
    cloned_layers,
    packed_fans,
    rank_collapse,
    residual_growth,
    dead_units,
    saturated_units,
    missing_nonlinearity,
    output_loss_mismatch,
    heavy_dropout,
    hidden_softmax,
    flat_derivatives,
    gradient_vanishes,
    gradient_explodes,
    no_gradient,
    one_class_gradients,
    attention_without_skip,
    gradient_fades_over_time,
    norm_frozen_in_training,
    train_eval_gap,
    tiny_batch_norm,
    bias_before_norm,
    decay_on_norm,
    norm_hides_scale,
    dead_channel,
    dropout_before_norm,
    shared_norm,
    norm_momentum,
    local_batch_norm,
    deep_norm_no_skip,
    degenerate_group,
    batch_norm_on_sequence,
    zero_gamma,
    dropout_in_eval,
    lr_too_high,
    lr_too_low,
    not_learning,
    diverging,
    oscillating,
    missing_parameters,
    weight_decay,
    wrong_sign,
    posterior_collapse,
    first_non_finite,
    overflow_headroom,
    gradient_underflow,
    rounded_updates,
    input_scale,
    bad_targets,
    target_scale,
    degenerate_input,
    mixed_samples,
    scrambled_axes,
    ignored_input,
    leaked_targets,
    unrelated_targets,
    unlearned_targets,
)


def rule_of(code: str) -> Rule:
    """The rule with this code or name, in any case.

    Raises:
        UnknownNameError: if there is none.
    """
    for entry in RULES:
        if code.lower() in (entry.code.lower(), entry.name, entry.slug.lower()):
            return entry
    raise UnknownNameError("rules", "a rule's code", code, (entry.code for entry in RULES))


__all__ = ["RULES", "Example", "Finding", "NotAssessed", "Rule", "Threshold", "ranked", "rule_of"]
