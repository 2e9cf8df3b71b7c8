"""Measure the values for a gate's `expect:` keys in the policy from past requests."""

import math
from dataclasses import dataclass

from surefoot.core.durations import format_duration
from surefoot.core.gates.paired_loss import compute_loss_differences_by_slice
from surefoot.core.judging.evidence import PairedSums
from surefoot.core.policy.policy_types import PairedGate


@dataclass(frozen=True, slots=True)
class ExpectValue:
    """A measured value for `expect:` of a gate in the policy.

    Attributes:
        gate: Name of the gate.
        key: Key under `expect:`: "rate" or "spread"; empty when nothing could be measured.
        value: Its value [probability, or unit of the loss].
        note: What it was measured on, or why it was not.
    """

    gate: str
    key: str = ""
    value: float = 0.0
    note: str = ""


def measure_expect_value(gate: PairedGate, found: PairedSums, *, alone: bool) -> ExpectValue:
    """Spread of a block's difference, or how often two versions disagree where each request is for itself.

    Args:
        gate: The gate.
        found: Both versions on the same requests.
        alone: Whether both are the same version, so that only the spread of its own loss can be told.

    Law: the spread is the standard error of the difference times the root of the number of blocks; of several slices
        the largest, for each must pass.
    """
    if not gate.block:
        return _disagreement(gate, found, alone=alone)
    measured = compute_loss_differences_by_slice(gate, found)
    if not measured:
        return ExpectValue(gate.name, note="too few blocks of labelled requests")
    rows = {name: (d.own if alone else d.error) * math.sqrt(d.blocks) for name, d in measured.items()}
    name = max(rows, key=lambda name: rows[name])
    diff, spread = measured[name], rows[name]
    on = f"{diff.n:,} requests on {diff.blocks} blocks of {format_duration(gate.block)}" + (f", {name}" if name else "")
    base = f"the champion's {gate.metric} is {diff.champion:.4g}"
    if spread <= 0.0:
        return ExpectValue(gate.name, note=f"the two versions answer alike: there is no spread ({on}; {base})")
    whose = "; of the champion alone, which is wider than that of two similar versions" if alone else ""
    return ExpectValue(gate.name, "spread", spread, f"{on}; {base}{whose}")


def _disagreement(gate: PairedGate, found: PairedSums, *, alone: bool) -> ExpectValue:
    blocks = [block for block in found.slices.get("", ()) if block.n]
    n = sum(block.n for block in blocks)
    if not n or alone:
        why = "it takes two versions: name one with --against" if alone else "no labelled request"
        return ExpectValue(gate.name, note=why)
    apart = sum(b.champion[0] + b.candidate[0] - 2 * b.champion[1] for b in blocks)
    note = f"one of the two is wrong on {apart:,} of {n:,} requests"
    return ExpectValue(gate.name, "rate", (apart + 0.5) / (n + 1.0), note)
