"""Sum the losses of recorded answers once per time block, for reuse by many gate evaluations."""

import math

from surefoot.adapters.evidence.paired.paired_loss_evidence import PairedLossAccumulator, build_paired_loss_evidence
from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.adapters.replay.recorded_answers import read_scored_batches
from surefoot.core.judging.evidence import PairedSums
from surefoot.core.policy.policy_types import PairedGate


class RecordedLossSums:
    """Loss sums by time block of one file of recorded requests, for many gate evaluations.

    Law: the sums are those of `RecordedAnswers`: a label counts when it came within its request's maturity, and a block
        counts when all its labels have had their time, so that no later label changes its sums. What came too late is
        counted as of the end of the records.
    """

    def __init__(self, records: RecordedRequests) -> None:
        """Remember the file; nothing is read yet."""
        self._records = records
        self._blocks: dict[tuple[str, float, float], PairedLossAccumulator] = {}

    def paired_sums(self, gate: PairedGate, since: float, until: float) -> PairedSums:
        """Sums by block and slice over the requests of a window whose blocks are complete by its end.

        Args:
            gate: The gate.
            since: Beginning of the window [Unix seconds]; a request of this moment is no part of it.
            until: End of the window [Unix seconds].
        """
        made = PairedLossAccumulator(gate, since, until)
        length = gate.block
        if not length:
            made.merge(self._read(gate, since, until - gate.maturity))
            return made.evidence()
        first, last = math.floor(since / length), math.floor((until - gate.maturity) / length)
        for number in range(first, last):
            begins = max(number * length, math.nextafter(since, math.inf))
            made.merge(self._block(gate, begins, (number + 1) * length))
        return made.evidence()

    def _block(self, gate: PairedGate, begins: float, ends: float) -> PairedLossAccumulator:
        """The sums of the requests from one moment to another, the second not included."""
        key = (repr(gate), begins, ends)
        if key not in self._blocks:
            self._blocks[key] = self._read(gate, math.nextafter(begins, -math.inf), math.nextafter(ends, -math.inf))
        return self._blocks[key]

    def _read(self, gate: PairedGate, since: float, until: float) -> PairedLossAccumulator:
        batches = read_scored_batches(self._records, (since, until), gate.maturity, gate.by, math.inf, gate)
        return build_paired_loss_evidence(gate, since, math.inf, batches)
