"""Store and write the configuration files that are deployed with a version; describe a failed write as drift."""

from surefoot.core.domain import Version
from surefoot.core.errors import NewerWrite, OutcomeUnknown
from surefoot.core.journal.bundled_files import BundledFile, SetConfig, format_config_drift_name
from surefoot.core.journal.events import DriftFound
from surefoot.core.policy.policy_types import Policy
from surefoot.rollout.ports import Ports


def store_config_bundle(ports: Ports, policy: Policy, candidate: Version) -> tuple[BundledFile, ...]:
    """Store the candidate's configuration files, and the files that they replace, before its rollout is opened.

    Raises:
        Rejected: The candidate's artifact has no such file.
        ConfigUnavailable: A file cannot be read or kept.
    """
    return tuple(
        BundledFile(
            one.name,
            one.file,
            ports.bundled.keep_bundled(policy.model, candidate, one.source),
            ports.bundled.keep_current(one.file),
        )
        for one in policy.bundle
    )


def write_config(ports: Ports, effect: SetConfig) -> bool:
    """Write a configuration file and read it back; whether it held that already.

    Raises:
        NewerWrite: It holds neither the content that is wanted nor the one that was expected: it stays as it is.
        OutcomeUnknown: It does not hold what was just written.
    """
    live = ports.bundled.current_digest(effect.file)
    if live == effect.content:
        return True
    if live != effect.expected:
        raise NewerWrite(
            f"{effect.file} holds {short_digest(live)}, not {short_digest(effect.expected)}: it was changed by hand or"
            " by another program, and is left as it is"
        )
    ports.bundled.write(effect.file, effect.content)
    if ports.bundled.current_digest(effect.file) != effect.content:
        raise OutcomeUnknown(f"{effect.file} does not hold what was just written")
    return False


def build_config_drift_event(rollout: str, effect: SetConfig, error: Exception) -> DriftFound:
    """The event that records that a configuration file could not be written."""
    return DriftFound(rollout, format_config_drift_name(effect.name), short_digest(effect.content), str(error))


def short_digest(content: str) -> str:
    """A file's digest, shortened for people."""
    return content[:19] if content else "no file"
