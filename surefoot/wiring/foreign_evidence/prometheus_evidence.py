"""Gather a gate's evidence from the counters of a Prometheus server."""

from dataclasses import dataclass, field

from surefoot.adapters.evidence_providers.prometheus.prometheus_api import PrometheusApi
from surefoot.adapters.evidence_providers.prometheus.prometheus_counts import (
    PrometheusCounts,
    SplitWithStart,
    uses_prometheus_counters,
)
from surefoot.core.judging.evidence import Evidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.settings import Settings
from surefoot.wiring.adapters import open_journal
from surefoot.wiring.answered_requests import list_split_periods


@dataclass
class PrometheusEvidence:
    """Counts in the Prometheus of any model; a look's gates share what was read.

    Attributes:
        config: Where everything is.
    """

    config: Settings
    _apis: dict[tuple[str, float], PrometheusApi] = field(default_factory=dict)

    def gather(self, question: EvidenceRequest) -> Evidence | None:
        """The evidence; None where the question is not asked of Prometheus.

        Raises:
            JournalUnavailable: The journal, which says what was in force when, cannot be read.
        """
        section = question.origin.section if question.origin is not None else None
        if section is None or section.prometheus is None or not uses_prometheus_counters(section.prometheus, question):
            return None
        key = (question.model, question.until)
        if key not in self._apis:
            self._apis = {key: PrometheusApi(section.prometheus, section.timeout)}
        with open_journal(self.config) as journal:
            found = list_split_periods(question.model, journal.read(question.model))
        periods = [SplitWithStart(one.since, one.split) for one in found]
        return PrometheusCounts(section.prometheus, self._apis[key], question, periods, section.reach).gather()
