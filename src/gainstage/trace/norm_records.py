"""The record of a normalization: what it did in a call, and what the batch norm among them read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NormRecord:
    """What a normalization did in this call.

    Attributes:
        type: ``batch``, ``layer``, ``group``, ``instance`` or ``rms``.
        uses_batch_statistics: False for batch norm in eval mode, which applies its running averages.
        values_per_statistic: How many values each mean and variance was taken over (N·H·W for batch norm).
        eps: The ε added to the variance.
        affine: Whether it has a scale or shift of its own.
        scale_rms: Root mean square of γ, or None without one.
        updates: ``num_batches_tracked``, or None.
        batch_shift: rms over channels of (batch mean - running mean) / batch std; None without running statistics.
        batch_scale_ratio: Geometric mean over channels of batch variance / running variance, likewise.
        momentum: Weight of the new batch in the running averages; None without them, or where they are cumulative.
        initial_statistics: Whether all running means are 0 and all running variances 1; None without them.
        channels, small_channels: How many channels were examined, and how many of them have a variance over the batch
            of at most ε/10,000: the norm leaves them below a hundredth of unit scale; None where they were not.
        input_channel_std: rms of the channels' std of what it reads, where it has running statistics.
        first_call: Position of the layer that was the first call with these running statistics, None if it is this.
        call_shift, call_scale_ratio: As ``batch_shift`` and ``batch_scale_ratio``, but of this call's batch against
            that of the first call; None for the first.
        synchronized: Whether a batch norm takes its statistics over all processes of a group.
        padded_share: Share of the steps of a sequence (samples x channels x steps) that a batch norm reads where a
            sample repeats its last or its first step in all channels; None where it reads no sequence.
    """

    type: str
    uses_batch_statistics: bool
    values_per_statistic: int
    eps: float
    affine: bool
    scale_rms: float | None = None
    updates: int | None = None
    batch_shift: float | None = None
    batch_scale_ratio: float | None = None
    momentum: float | None = None
    initial_statistics: bool | None = None
    channels: int | None = None
    small_channels: int | None = None
    input_channel_std: float | None = None
    first_call: int | None = None
    call_shift: float | None = None
    call_scale_ratio: float | None = None
    synchronized: bool = False
    padded_share: float | None = None
