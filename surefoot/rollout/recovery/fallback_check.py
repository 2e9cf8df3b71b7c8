"""Check that a model's fallback can answer, and send the version of the fallback to the gateway."""

import contextlib

from surefoot.core.domain import Version
from surefoot.core.errors import FallbackInvalid, SurefootError
from surefoot.core.journal.fallback_events import FallbackDrilled
from surefoot.core.journal.ledger import Ledger
from surefoot.core.served_versions.fallback_version import choose_fallback_version, judge_fallback_check
from surefoot.rollout.ports import Ports


def check_and_judge_fallback(
    ports: Ports, ledger: Ledger, champion: Version, candidate: Version | None = None
) -> FallbackDrilled | None:
    """Check the fallback of a model by asking it; None where its policy has none.

    Args:
        ports: Ports of the use cases.
        ledger: The model's ledger.
        champion: The version that serves.
        candidate: The version of a rollout that is about to open.

    Raises:
        RegistryUnavailable: The fallback is a version, and the registry does not answer.
    """
    found = ports.run_fallback_check(ledger.model, champion.number)
    return None if found is None else judge_fallback_check(ledger, found, champion, candidate)


def send_fallback_version(ports: Ports, ledger: Ledger) -> None:
    """Have the gateway load the version that is the fallback; nothing where none was ever named.

    Nothing depends on it that moves traffic: what goes wrong here is left to the controller, which looks at each tick.
    """
    if ledger.fallback is not None and ledger.engine.abilities.fallback:
        with contextlib.suppress(SurefootError):
            ports.set_fallback(ledger.model, choose_fallback_version(ledger))


def check_fallback_before_rollout(
    ports: Ports, ledger: Ledger, champion: Version, candidate: Version
) -> tuple[Ledger, str]:
    """Try the fallback of a model before a rollout opens, and journal the result; a poor one stops nothing.

    Returns:
        The ledger, and the digest of the version that is the fallback; empty where no version is.

    Raises:
        FallbackInvalid: There is nothing that could answer: the version cannot be loaded, or the file is wrong.
        RegistryUnavailable: The fallback is a version, and the registry does not answer.
    """
    found = check_and_judge_fallback(ports, ledger, champion, candidate)
    if found is None:
        return ledger, ""
    if found.is_unusable:
        raise FallbackInvalid(found.problem)
    ledger = ports.append(ledger, found)
    send_fallback_version(ports, ledger)
    return ledger, found.digest if found.source is not None else ""
