"""Recompute a verdict's totals, and compare them with the journal."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from surefoot.adapters.evidence_store.count_metadata import decode_replay_failures
from surefoot.adapters.evidence_store.evidence_store import EvidenceStore
from surefoot.adapters.evidence_store.paired_sums_table import decode_paired_sums
from surefoot.core.errors import EvidenceUnavailable, NotFound
from surefoot.core.judging.evidence import BadEventCounts, Evidence, PairedSums
from surefoot.core.judging.excluded_records import NOTHING_EXCLUDED
from surefoot.core.judging.reverify import RecountResult
from surefoot.core.policy.policy_types import Gate, PairedGate, narrow_gate_type


def recount_verdict(store: EvidenceStore, gate: Gate, evidence: Evidence) -> tuple[RecountResult, str]:
    """Add up the stored counts of a verdict without reading the log, and compare them with its journalled counters.

    Args:
        store: What was kept of the model.
        gate: The gate of the verdict.
        evidence: The counters in the journal.

    Returns:
        Whether it was done; where the sums are not the journal's, or a file is not as it was written, what is wrong.
    """
    if not isinstance(evidence, PairedSums | BadEventCounts) or not evidence.kept:
        return RecountResult.NONE, ""
    try:
        again = _add_up(store, gate, evidence)
    except NotFound as error:
        return RecountResult.GONE, str(error)
    except EvidenceUnavailable as error:
        return RecountResult.DONE, str(error)
    bare = replace(evidence, left=NOTHING_EXCLUDED, kept="")
    bare = replace(bare, raised=()) if isinstance(bare, PairedSums) else bare
    if replace(again, left=NOTHING_EXCLUDED) != bare:
        return RecountResult.DONE, f"the kept sums of look {evidence.kept[:16]} do not add up to the journal's counters"
    return RecountResult.DONE, ""


def _add_up(store: EvidenceStore, gate: Gate, evidence: PairedSums | BadEventCounts) -> PairedSums | BadEventCounts:
    table, facts = store.load_verdict_sources(evidence.kept)
    pieces = [store.load_counts_by_name(str(name)) for name in _names(facts)]
    if isinstance(evidence, BadEventCounts):
        return sum(
            (decode_replay_failures(piece.facts) for piece in pieces), decode_replay_failures(facts)
        ).error_rate_evidence()
    paired, window = narrow_gate_type(gate, PairedGate), (float(str(facts["since"])), float(str(facts["until"])))
    total = decode_paired_sums(paired, *window, table, facts)
    for piece in pieces:
        total.merge(decode_paired_sums(paired, *window, piece.table, piece.facts))
    return total.evidence(int(str(facts["unknown"])))


def _names(facts: Mapping[str, Any]) -> list[str]:
    return list(facts["pieces"])
