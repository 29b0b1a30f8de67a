"""All programs, and which of them the rules' authors looked at while they worked on the rules."""

from __future__ import annotations

from zlib import crc32

from programs import (
    mixed_decisions,
    mixed_images,
    mixed_points,
    mixed_representations,
    mixed_sequences,
    mixed_signals,
    mixed_sound_decisions,
    mixed_sound_functions,
    mixed_sound_graphs,
    mixed_sound_images,
    mixed_sound_representations,
    mixed_sound_tables,
    mixed_tables,
    published_decisions,
    published_generative,
    published_graphs,
    published_images,
    published_masks,
    published_regressions,
    published_sequences,
    published_tables,
    reported_control,
    reported_equations,
    reported_generative,
    reported_graphs,
    reported_images,
    reported_matching,
    reported_segmentation,
    reported_series,
    reported_signals,
    reported_tables,
    reported_texts,
)
from programs.pair import Pair

PUBLISHED: tuple[Pair, ...] = (
    *published_decisions.PAIRS,
    *published_generative.PAIRS,
    *published_graphs.PAIRS,
    *published_images.PAIRS,
    *published_masks.PAIRS,
    *published_regressions.PAIRS,
    *published_sequences.PAIRS,
    *published_tables.PAIRS,
)
REPORTED: tuple[Pair, ...] = (
    *reported_control.PAIRS,
    *reported_equations.PAIRS,
    *reported_generative.PAIRS,
    *reported_graphs.PAIRS,
    *reported_images.PAIRS,
    *reported_matching.PAIRS,
    *reported_segmentation.PAIRS,
    *reported_series.PAIRS,
    *reported_signals.PAIRS,
    *reported_tables.PAIRS,
    *reported_texts.PAIRS,
)
MIXED: tuple[Pair, ...] = (
    *mixed_decisions.PAIRS,
    *mixed_images.PAIRS,
    *mixed_points.PAIRS,
    *mixed_representations.PAIRS,
    *mixed_sequences.PAIRS,
    *mixed_signals.PAIRS,
    *mixed_sound_decisions.PAIRS,
    *mixed_sound_functions.PAIRS,
    *mixed_sound_graphs.PAIRS,
    *mixed_sound_images.PAIRS,
    *mixed_sound_representations.PAIRS,
    *mixed_sound_tables.PAIRS,
    *mixed_tables.PAIRS,
)
PAIRS = (*PUBLISHED, *REPORTED, *MIXED)


def looked_at(pair: Pair) -> bool:
    """Of the first two sets one half, by a checksum of the name; of the third none."""
    return pair not in MIXED and crc32(pair.name.rpartition("/")[2].encode()) % 2 == 1
