"""Decide how a promotion or a rollback changes the configuration files that go with a version.

On the way up they change before any request goes to the candidate, on the way back after traffic and registry: so the
candidate never answers with the files of the version before, and only that version has to work with both.
"""

from surefoot.core.domain import Stage, Version
from surefoot.core.journal.bundled_files import SetConfig, format_config_drift_name
from surefoot.core.journal.ledger import Ledger, Rollout

_PROMOTED = frozenset({Stage.PROMOTED, Stage.FAST_PROMOTED})


def promotion_config_effects(rollout: Rollout) -> tuple[SetConfig, ...]:
    """The changes of files that a promotion begins with, before any request goes to its candidate."""
    return tuple(one.forward_effect for one in rollout.opened.bundle)


def rollback_config_effects(ledger: Ledger, target: Version) -> tuple[SetConfig, ...]:
    """The changes that give each file what it held while a version served.

    A file that the open rollout found changed by another hand is left to that one.

    Args:
        ledger: The model's ledger.
        target: The version that traffic goes back to.
    """
    now, wanted = _read_history(ledger, target)
    theirs = {what for what, drift in ledger.drifts.items() if drift.rollout == ledger.open}
    return tuple(
        SetConfig(name, file, wanted[file], holds)
        for file, (name, holds) in now.items()
        if holds != wanted[file] and format_config_drift_name(name) not in theirs
    )


def config_files_for_version(ledger: Ledger, version: Version) -> dict[str, tuple[str, str]]:
    """What each file is to hold while a version serves: file -> (name, SHA-256)."""
    now, wanted = _read_history(ledger, version)
    return {file: (name, wanted[file]) for file, (name, _) in now.items()}


def _read_history(ledger: Ledger, version: Version) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """What each file holds by the journal, with its name, and what it held while a version served."""
    now: dict[str, tuple[str, str]] = {}
    earliest: dict[str, str] = {}
    served: dict[str, dict[str, str]] = {}
    for rollout in ledger.rollouts.values():
        opened = rollout.opened
        for one in opened.bundle:
            now[one.file] = (one.name, one.before)
            earliest.setdefault(one.file, one.before)
        served[opened.champion.digest] = {file: holds for file, (_, holds) in now.items()}
        # A change that was given up may have been made: it is looked at before it is undone.
        unsure = [effect for effect in promotion_config_effects(rollout) if effect in rollout.refused]
        for effect in (*unsure, *rollout.done):
            if isinstance(effect, SetConfig):
                now[effect.file] = (effect.name, effect.content)
        if rollout.stage in _PROMOTED:
            served[opened.candidate.digest] = {file: holds for file, (_, holds) in now.items()}
    return now, {**earliest, **served.get(version.digest, {})}
