"""List the faults that a rollback drill can inject."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from surefoot.core.triage.triage import Cause


class DrillFault(StrEnum):
    """A fault that a drill injects; the value is what people type."""

    ERRORS = "errors"
    SLOWNESS = "slowness"
    NAN = "nan"
    WRONG_UNITS = "wrong-units"
    FROZEN_FEATURE = "frozen-feature"
    SWAPPED_ENCODING = "swapped-encoding"
    ONE_GROUP = "one-group"
    DRIFT = "drift"
    MEMORY_LEAK = "memory-leak"
    CRASH = "crash"
    CORRUPTED_ARTIFACT = "corrupted-artifact"
    REGISTRY_DOWN = "registry-down"
    PREFECT_DOWN = "prefect-down"
    LABELS_DOWN = "labels-down"
    DISK_FULL = "disk-full"


@dataclass(frozen=True, slots=True)
class FaultDescription:
    """Description of a fault that a drill injects, and the causes that are its correct diagnosis.

    Attributes:
        what: What goes wrong, in one sentence.
        causes: The causes that are right to name.
    """

    what: str
    causes: tuple[Cause, ...]


FAULTS: Mapping[DrillFault, FaultDescription] = {
    DrillFault.ERRORS: FaultDescription(
        "the version raises an error on the requests of one airport or group", (Cause.CONTRACT, Cause.MODEL)
    ),
    DrillFault.SLOWNESS: FaultDescription("the version takes many times as long to answer", (Cause.RESOURCES,)),
    DrillFault.NAN: FaultDescription("the version answers NaN where a value is missing", (Cause.CONTRACT, Cause.MODEL)),
    DrillFault.WRONG_UNITS: FaultDescription("one column comes in another unit", (Cause.FEATURE,)),
    DrillFault.FROZEN_FEATURE: FaultDescription("one column keeps its last value", (Cause.FEATURE,)),
    DrillFault.SWAPPED_ENCODING: FaultDescription("the codes of one column are swapped", (Cause.FEATURE, Cause.MODEL)),
    DrillFault.ONE_GROUP: FaultDescription("the version is wrong for one group only", (Cause.MODEL,)),
    DrillFault.DRIFT: FaultDescription(
        "inputs move, and the version does not follow", (Cause.INPUTS, Cause.FEATURE, Cause.RELATION)
    ),
    DrillFault.MEMORY_LEAK: FaultDescription("the version keeps memory of each request", (Cause.RESOURCES,)),
    DrillFault.CRASH: FaultDescription("the version's process ends on some requests", (Cause.RESOURCES,)),
    DrillFault.CORRUPTED_ARTIFACT: FaultDescription("the version's files are damaged", (Cause.ARTIFACT,)),
    DrillFault.REGISTRY_DOWN: FaultDescription(
        "the registry is unreachable while the version raises errors", (Cause.CONTRACT, Cause.MODEL)
    ),
    DrillFault.PREFECT_DOWN: FaultDescription(
        "Prefect is unreachable while the version raises errors", (Cause.CONTRACT, Cause.MODEL)
    ),
    DrillFault.LABELS_DOWN: FaultDescription(
        "no labels come while the version raises errors", (Cause.CONTRACT, Cause.MODEL)
    ),
    DrillFault.DISK_FULL: FaultDescription(
        "the disk of the prediction log is full while the version raises errors", (Cause.CONTRACT, Cause.MODEL)
    ),
}
"""Each fault. The last four stop a tool beside the version, so the version has the fault `errors` as well."""
