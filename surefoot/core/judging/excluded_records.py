"""Define the counts of logged records that were excluded from a gate's evidence."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExcludedRecords:
    """Counts of records that a gate's evidence leaves out, or does not count as they came; verdicts report them.

    Attributes:
        records: Records that the question is about [count].
        refused: Requests that no version could answer: evidence about none of them [count].
        repeated: Records whose request was counted already, under the same id [count].
        unkept: Requests whose features were not kept in the log [count].
        sampled: Requests beyond the number that is looked at one by one [count].
        unknown: Labels of requests that are in no record [count].
        early: Labels that are older than their request [count].
        future: Labels that say a time that has not come yet [count].
        clipped: Values beyond the bounds of the policy, which count as the nearer bound [count].
        dropped: Mirrored requests that the shadow had no room for: they are missing, and no agreement [count].
        odd: Values, answers or labels that the metric cannot read [count].
        unplaced: Requests that a counter has counted across a change of the split, so that their split is not known
            [count].
        requests: Up to five requests with an odd value; ids, never values.
        what: What is odd about them, for people; never a value.
    """

    records: int = 0
    refused: int = 0
    repeated: int = 0
    unkept: int = 0
    sampled: int = 0
    unknown: int = 0
    early: int = 0
    future: int = 0
    clipped: int = 0
    dropped: int = 0
    odd: int = 0
    unplaced: int = 0
    requests: tuple[str, ...] = ()
    what: str = ""


NOTHING_EXCLUDED = ExcludedRecords()
