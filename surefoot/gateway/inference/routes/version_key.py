"""Identify a version by number and digest, and list the versions that answer callers under a traffic split."""

from surefoot.core.domain import Split, Version

VersionKey = tuple[str, str]
"""What makes two versions the same one to a gateway: number and digest of the bytes."""


def version_key(version: Version) -> VersionKey:
    """Give what makes two versions the same one to a gateway: number and digest."""
    return version.number, version.digest


def serving_versions(split: Split) -> tuple[Version, ...]:
    """List the versions that answer callers under a split, the champion first.

    At weight 0 the candidate does not answer, so a rollback loads nothing.
    """
    if split.candidate is None or split.weight == 0:
        return (split.champion,)
    return split.champion, split.candidate
