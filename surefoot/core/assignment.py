"""Assign each request to the champion's or the candidate's arm by a salted hash."""

import math
from collections.abc import Sequence

import xxhash

from surefoot.core.domain import Arm, Split

_BELOW_100 = math.nextafter(100.0, 0.0)


def compute_assignment_bucket(salt: str, key: str) -> float:
    """Hash a key to a percentage from 0 to 100; the candidate gets the keys below its weight.

    The salt and the key are hashed with a NUL between them, so that no salt can finish another one's keys. A
    checksum such as CRC-32 must not stand here: it is affine, and the groups of two salts would not be independent.

    Args:
        salt: Secret of the assignment; the same for every step of a rollout.
        key: The unit, or the request when there is no unit.

    Returns:
        Position on the ruler [percent, 0 <= position < 100].

    Source: xxHash, XXH3 with 64 bits.
    """
    hashed = xxhash.xxh3_64_intdigest(f"{salt}\0{key}".encode("utf-8", "surrogatepass"))
    return min(hashed / 2**64 * 100.0, _BELOW_100)  # the topmost hashes would round up to 100


def describe_candidate_share(weight: float, units: Sequence[str]) -> str:
    """Say which units are the candidate's: those that are listed, and a share of the others.

    Args:
        weight: Share of the units, by their hash [percent].
        units: Units that are listed by name.
    """
    listed = f"{len(units):,} listed {'unit' if len(units) == 1 else 'units'} and " if units else ""
    return f"{listed}{weight:g} %"


def assign_arm(split: Split, key: str, unit: str | None = None) -> Arm:
    """Choose the arm of a key under a split.

    Law: a unit of the candidate at one weight stays with it at every higher weight of the same salt.

    Args:
        split: The split.
        key: The unit, or the request when there is no unit.
        unit: The same where it is a unit: one that the split lists is the candidate's whatever its hash.
    """
    if split.lists(unit):
        return Arm.CANDIDATE
    if split.candidate is not None and split.weight and compute_assignment_bucket(split.salt, key) < split.weight:
        return Arm.CANDIDATE
    return Arm.CHAMPION
