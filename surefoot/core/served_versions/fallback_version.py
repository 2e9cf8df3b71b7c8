"""Decide whether a policy's fallback version may answer requests, and judge the check of that version."""

from dataclasses import replace

from surefoot.core.domain import RolloutKind, Version
from surefoot.core.fallback import FallbackVersion
from surefoot.core.journal.fallback_events import FallbackDrilled
from surefoot.core.journal.ledger import Ledger


def why_fallback_barred(ledger: Ledger, fallback: Version, candidate: Version | None = None) -> str:
    """Why a version must not answer as fallback; empty when it may.

    Args:
        ledger: The model's ledger.
        fallback: The version.
        candidate: The version of a rollout that is about to open; by default that of the open one.
    """
    rollout = ledger.rollout
    if candidate is None and rollout is not None and rollout.opened.kind == RolloutKind.PROMOTION:
        candidate = rollout.opened.candidate
    if fallback.digest in ledger.quarantined:
        return "it is quarantined, so it answers no caller"
    if candidate is not None and fallback.digest == candidate.digest:
        return "it is the candidate, which is on trial, so it answers no caller that the champion fails"
    return ""


def choose_fallback_version(ledger: Ledger) -> FallbackVersion | None:
    """The version that is to be loaded as fallback; None where there is none, or it must not answer now."""
    found = ledger.fallback
    return None if found is None or why_fallback_barred(ledger, found.version) else found


def judge_fallback_check(
    ledger: Ledger, found: FallbackDrilled, champion: Version, candidate: Version | None = None
) -> FallbackDrilled:
    """Result of a fallback check, with the reason when the journal bars the version from answering.

    Args:
        ledger: The model's ledger.
        found: What the check has found by itself.
        champion: The version that serves.
        candidate: The version of a rollout that is about to open.
    """
    version, known = found.version, ledger.fallback
    if version is None or found.source is None:
        return found
    if known is not None and known.uri == found.source.uri and known.version.digest != version.digest:
        changed = f"its files are {version.digest}, the journal says {known.version.digest}: name another version"
        return replace(found, digest="", version=None, problem=changed)
    problem = why_fallback_barred(ledger, version, candidate)
    if not problem and version.digest == champion.digest:
        problem = "it is the champion itself: what that fails it fails too"
    return replace(found, problem=problem or found.problem)
