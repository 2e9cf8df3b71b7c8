"""Find, journal and repair differences (drift) of registry, traffic split and files from the journal."""

from dataclasses import replace

from surefoot.core.domain import RegistryView, RolloutKind, Split, Version
from surefoot.core.errors import AliasDrift, Rejected
from surefoot.core.journal.bundled_files import format_config_drift_name
from surefoot.core.journal.events import LIVE_SPLIT_DRIFT_NAME, DriftFound, DriftResolved
from surefoot.core.journal.ledger import Ledger
from surefoot.core.registry_drift.drift_events import (
    CHAMPION_DRIFT_NAME,
    SERVED_VERSION_DRIFT_PREFIX,
    served_version_drift_name,
)
from surefoot.core.rollback.config_file_effects import config_files_for_version
from surefoot.core.serving_engines.engine_abilities import EngineName
from surefoot.rollout.config_files import short_digest
from surefoot.rollout.ports import Ports


def describe_journal_behind_gateway(model: str, head: int, generation: int, engine: str = "the gateway") -> str:
    """What it means that an engine's generation, which is an entry's number, is above the journal's head."""
    return (
        f"the journal of {model} has {head} entries, but {engine} serves what entry {generation} asked for: entries"
        " were lost, or another journal is in use; restore the journal, or name the right one"
    )


def list_pending_alias_changes(ledger: Ledger) -> tuple[DriftFound, ...]:
    """Registry changes of ours that could not be made yet and are repeated."""
    return tuple(drift for drift in ledger.drifts.values() if drift.alias and drift.repeat)


def repeat_alias_changes(ports: Ports, ledger: Ledger) -> Ledger:
    """Repeat the registry changes that a rollback could not make; leave alone what somebody else has changed since.

    Raises:
        Unavailable: The registry does not answer.
        Conflict: Another process has appended to the journal.
    """
    for drift in list_pending_alias_changes(ledger):
        if drift.alias == "champion" and ledger.champion and ledger.champion.number != drift.number:
            ledger = _resolve(ports, ledger, drift, "a later rollout has decided otherwise")
            continue
        live = ports.registry.alias(ledger.model, drift.alias)
        if live == drift.number:
            ledger = _resolve(ports, ledger, drift, "it was set meanwhile")
            continue
        if drift.before is not None and live != drift.before:
            # Somebody has moved it meanwhile: theirs to keep, and said in `status`.
            seen = f"it points to {f'version {live}' if live else 'nothing'}"
            ledger = ports.append(ledger, replace(drift, seen=seen, before=live, repeat=False))
            continue
        try:
            ports.registry.set_alias(ledger.model, drift.alias, drift.number)
        except (Rejected, AliasDrift):
            continue  # still refused: it stays open
        ledger = _resolve(ports, ledger, drift, "the change was repeated")
    return ledger


def journal_champion_drift(ports: Ports, ledger: Ledger, view: RegistryView | None = None) -> Ledger:
    """Journal, once for each value, that alias `champion` is not the version that is served; and when it is again.

    While a rollout is open as well: its own move is journalled as an intent before it is made, and no look is taken
    between the two.

    Args:
        ports: The outside world.
        ledger: State of the model, not older than the view.
        view: What the registry says; it is asked without one.

    Raises:
        Unavailable: The registry does not answer.
        Conflict: Another process has appended to the journal.
    """
    champion = ledger.champion
    if champion is None or ledger.intent or _sets_aliases_itself(ledger):
        return ledger
    known = ledger.drifts.get(CHAMPION_DRIFT_NAME)
    live = ports.registry.alias(ledger.model, "champion") if view is None else view.aliases.get("champion")
    if live == champion.number:
        return ledger if known is None else _resolve(ports, ledger, known, f"it points to version {live}")
    seen = f"it points to {f'version {live}' if live else 'nothing'}"
    if known is not None and (known.repeat or known.seen == seen):
        return ledger
    return ports.append(
        ledger, DriftFound("", CHAMPION_DRIFT_NAME, champion.number, seen, "champion", champion.number, live)
    )


def journal_version_drift(ports: Ports, ledger: Ledger, view: RegistryView) -> Ledger:
    """Journal, once for each value, that the version that is served was deleted or its tag edited; and the return.

    Raises:
        Conflict: Another process has appended to the journal.
    """
    champion = ledger.champion
    if champion is None or ledger.intent:
        return ledger
    found = _version_differences(champion, view)
    for what, (expected, seen) in found.items():
        known = ledger.drifts.get(what)
        if seen and (known is None or known.seen != seen):
            ledger = ports.append(ledger, DriftFound("", what, expected, seen))
        elif known is not None and not seen:
            ledger = _resolve(ports, ledger, known, "it is there again")
    for what in [what for what in ledger.drifts if what.startswith(SERVED_VERSION_DRIFT_PREFIX) and what not in found]:
        ledger = _resolve(ports, ledger, ledger.drifts[what], f"version {champion.number} is served now")
    return ledger


def is_champion_as_journalled(ledger: Ledger, view: RegistryView) -> bool:
    """Whether a registry says of the champion what the journal says, and no difference of it is open."""
    champion = ledger.champion
    if champion is None or any(
        drift.alias or name.startswith(SERVED_VERSION_DRIFT_PREFIX) for name, drift in ledger.drifts.items()
    ):
        return False
    whole = not any(seen for _, seen in _version_differences(champion, view).values())
    return whole and view.aliases.get("champion") == champion.number


def _version_differences(champion: Version, view: RegistryView) -> dict[str, tuple[str, str]]:
    """What the registry should say of the version that is served, and what it says instead; empty where it agrees."""
    number, gone = champion.number, ""
    if not view.exists:
        gone = "the registered model was deleted or renamed"
    elif number not in view.stages:
        gone = "it was deleted"
    missing = f"{gone}; its verified copy is served on" if gone else ""
    tag = view.data_digests.get(number, "")
    edited = "" if gone or tag == champion.data_digest else f"it says {tag or 'nothing'}"
    return {
        served_version_drift_name(number): ("in the registry", missing),
        f"{served_version_drift_name(number)}, tag surefoot.data_digest": (champion.data_digest or "not set", edited),
    }


def _sets_aliases_itself(ledger: Ledger) -> bool:
    """Whether a rollout goes back, which sets the alias that it finds, or was ended by another hand's move of it."""
    rollout = ledger.rollout
    back = rollout is not None and (rollout.ending is not None or rollout.opened.kind == RolloutKind.ROLLBACK)
    return back or (rollout is not None and rollout.drifted)


def describe_split_mismatch(ledger: Ledger, live: Split | None) -> str:
    """What the engine serves instead of the journal's split, in one clause; empty when they agree."""
    if ledger.split is None or ledger.split.routes_same_as(live):
        return ""
    return f"{_serves(ledger, live)}, the journal says {_words(ledger.split)}"


def journal_split_drift(ports: Ports, ledger: Ledger, live: Split | None) -> Ledger:
    """Journal that the engine does not serve the split of the journal, once for each value; and that it does again.

    An open rollout and a live drill move the split themselves and read it back: nothing is journalled meanwhile.

    Raises:
        Conflict: Another process has appended to the journal.
    """
    if ledger.split is None or ledger.open or ledger.intent or ledger.drills.live:
        return ledger
    if ledger.engine.name is EngineName.ALIAS and CHAMPION_DRIFT_NAME in ledger.drifts:
        return ledger  # the alias is the split: one drift of it is enough
    known = ledger.drifts.get(LIVE_SPLIT_DRIFT_NAME)
    if ledger.split.routes_same_as(live):
        return ledger if known is None else _resolve(ports, ledger, known, _serves(ledger, live))
    seen = _serves(ledger, live)
    if known is not None and known.seen == seen:
        return ledger
    return ports.append(ledger, DriftFound("", LIVE_SPLIT_DRIFT_NAME, _words(ledger.split), seen))


def journal_config_drift(ports: Ports, ledger: Ledger) -> Ledger:
    """Journal, once for each content, that a configuration file is not the champion's; and when it is again.

    Raises:
        Unavailable: A file cannot be read.
        Conflict: Another process has appended to the journal.
    """
    if ledger.champion is None or ledger.open or ledger.intent:
        return ledger
    for file, (name, content) in config_files_for_version(ledger, ledger.champion).items():
        what = format_config_drift_name(name)
        known, live = ledger.drifts.get(what), ports.bundled.current_digest(file)
        seen = f"{file} holds {short_digest(live)}"
        if live == content and known is not None:
            ledger = _resolve(ports, ledger, known, seen)
        elif live != content and (known is None or known.seen != seen):
            ledger = ports.append(ledger, DriftFound("", what, short_digest(content), seen))
    return ledger


def _serves(ledger: Ledger, live: Split | None) -> str:
    """What a model's engine serves, as a clause."""
    return f"{ledger.engine.abilities.title} serves {_words(live)}"


def _words(split: Split | None) -> str:
    if split is None or not split.champion.number:
        return "no version"
    if split.candidate is not None and split.mirror:
        return f"version {split.champion.number}, mirrored to version {split.candidate.number} at {split.mirror:g}%"
    if split.candidate is None or not split.weight:
        return f"version {split.champion.number}"
    listed = f" with the units {', '.join(split.units)}" if split.units else ""
    return f"version {split.champion.number}, and version {split.candidate.number} at {split.weight:g}%{listed}"


def repair_champion_alias(ports: Ports, model: str) -> Ledger:
    """Set alias `champion` to the version that is served, after another person has moved it.

    Raises:
        Rejected: No champion is known, a rollout is open, or the registry refuses.
        Unavailable: The registry does not answer.
    """
    ledger = ports.ledger(model)
    if ledger.champion is None:
        raise Rejected(f"{model} has no champion in the journal yet: there is nothing to set the alias to")
    if ledger.open:
        raise Rejected(f"rollout {ledger.open} of {model} is open and sets the aliases itself: abort it, or wait")
    ledger = repeat_alias_changes(ports, ledger)
    if ports.registry.alias(model, "champion") != ledger.champion.number:  # type: ignore[union-attr]
        ports.registry.set_alias(model, "champion", ledger.champion.number)  # type: ignore[union-attr]
    return journal_champion_drift(ports, ledger)


def _resolve(ports: Ports, ledger: Ledger, drift: DriftFound, how: str) -> Ledger:
    return ports.append(ledger, DriftResolved(drift.rollout, drift.what, how))
