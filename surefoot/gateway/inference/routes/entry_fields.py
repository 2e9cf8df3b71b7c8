"""Define the keys of a model's entry in the route table, and read their values."""

from collections.abc import Mapping

from surefoot.core.domain import Version
from surefoot.core.fallback import FallbackVersion
from surefoot.core.traffic_split_json import decode_version

UNBATCHABLE_KEY = "alone"
"""Key of an entry: why versions are asked one request at a time, by digest. It is not written to the route file."""


STANDBY_KEY = "standby"
"""Key of an entry: the version that answers requests that the champion fails."""


FALLBACK_KEY = "fallback"
"""Key of an entry: the version that answers requests that no other version can answer."""


ROLLING_BACK_KEY = "going_back"
"""Key of an entry: whether the candidate is what traffic goes back to, as in a stepped rollback."""


def read_unbatchable_versions(entry: Mapping[str, object]) -> dict[str, str]:
    """Read from an entry why versions are asked one request at a time, by digest."""
    found = entry.get(UNBATCHABLE_KEY)
    return {str(digest): str(why) for digest, why in found.items()} if isinstance(found, Mapping) else {}


def read_standby(entry: Mapping[str, object]) -> Version | None:
    """Read from an entry which proven-good version answers requests that the champion fails.

    Raises:
        ValueError: It is no version.
    """
    found = entry.get(STANDBY_KEY)
    return None if found is None else decode_version(STANDBY_KEY, found)


def decode_fallback(value: object) -> FallbackVersion | None:
    """Read which version of which registered model is the fallback; None for null.

    Raises:
        ValueError: It is no version of a model.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping) or value.keys() != {"model", "version"} or not isinstance(value["model"], str):
        raise ValueError("a fallback is an object with the keys ['model', 'version']")
    return FallbackVersion(value["model"], decode_version("version", value["version"]))


def read_fallback(entry: Mapping[str, object]) -> FallbackVersion | None:
    """Read from an entry which version answers requests that no other version can answer.

    Raises:
        ValueError: It is none.
    """
    return decode_fallback(entry.get(FALLBACK_KEY))
