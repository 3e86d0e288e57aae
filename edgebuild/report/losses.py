"""What a build lost, in a few lines."""

from __future__ import annotations

from collections.abc import Iterator

from edgebuild.core.losses import Answers, LayerLoss, LayerLosses, Losses, OutputLoss, worst
from edgebuild.units import format_share

# How many of the operators that lose most are named.
_NAMED = 2


def rows(losses: Losses) -> Iterator[tuple[str, str]]:
    """The rows of a summary: each with its label."""
    output = losses.output
    if output is not None:
        if output.answers is not None:
            yield "answers", _answers(output.answers)
        yield "signal", _signal(output)
    if losses.layers is not None:
        yield "layers", _layers(losses.layers)


def _answers(answers: Answers) -> str:
    if not answers.changed:
        return f"all {answers.total:,} as the float network's"
    return f"{answers.changed:,} of {answers.total:,} are not the float network's: {turned(answers)}"


def turned(answers: Answers) -> str:
    """What became of the predictions that changed; the parts add up to all of them."""
    text = f"{answers.lost:,} became wrong, {answers.gained:,} right"
    neither = answers.changed - answers.lost - answers.gained
    return f"{text}, {neither:,} changed and count as before" if neither > 0 else text


def _signal(output: OutputLoss) -> str:
    behind = "" if output.logits is None else f", of its logits {output.logits.sqnr_db:.1f} dB,"
    text = f"output SQNR {output.signal.sqnr_db:.1f} dB{behind} over {output.samples:,} samples"
    confidence = output.confidence
    if confidence is None:
        return text
    before, after = format_share(confidence.baseline), format_share(confidence.artifact)
    return f"{text}, calibration error {after}, float network {before} ({confidence.of})"


def _layers(losses: LayerLosses) -> str:
    found = worst(losses.layers, _NAMED)
    text = f"most lost at {', '.join(map(_layer, found))}" if found else "nothing lost"
    left_out = f"; {len(losses.unmatched):,} not compared" if losses.unmatched else ""
    dropped = f"; {len(losses.unproved):,} pairs dropped, not proved" if losses.unproved else ""
    return f"{text} ({losses.samples:,} {losses.split} samples{left_out}{dropped})"


def _layer(layer: LayerLoss) -> str:
    """An operator with what it makes of the signal: "conv2d (34.2 to 24.7 dB)"."""
    # The converter names what it fused last to first.
    name = layer.layers[-1] if layer.layers else layer.operator
    before = "" if layer.input_sqnr_db is None else f"{layer.input_sqnr_db:.1f} to "
    return f"{name} ({before}{layer.signal.sqnr_db:.1f} dB)"
