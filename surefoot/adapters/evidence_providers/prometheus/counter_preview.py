"""Read a preview of the Prometheus counters that a policy names."""

from collections import defaultdict
from dataclasses import dataclass, field

from surefoot.adapters.evidence_providers.prometheus.counter_increases import counter_increases
from surefoot.adapters.evidence_providers.prometheus.prometheus_api import PrometheusApi
from surefoot.adapters.evidence_providers.provider_failure import ProviderFailure
from surefoot.core.policy.evidence.evidence_section import PrometheusSection

_COUNTERS = ("requests", "errors", "latency")


@dataclass
class CounterPreview:
    """What counters hold in a window.

    Attributes:
        place: The server, for people.
        versions: By version: `requests`, `errors` and `latency`, each as far as the policy names its counter [count].
        unnamed: Requests of series without the label that holds the version [count].
        failure: Why it was not read; None when it was.
    """

    place: str
    versions: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    unnamed: int = 0
    failure: ProviderFailure | None = None


def preview_counters(section: PrometheusSection, api: PrometheusApi, since: float, until: float) -> CounterPreview:
    """Read the growth of each counter in a window, by version.

    Args:
        section: The counters.
        api: The server.
        since: Beginning of the window [Unix seconds].
        until: End of the window [Unix seconds].
    """
    made = CounterPreview(api.place)
    try:
        for name in _COUNTERS:
            selector = getattr(section, name)
            for one in counter_increases(api.read_steps(selector, since, until), since) if selector else ():
                labels = dict(one.labels)
                if name == "latency" and labels.get("le") != "+Inf":
                    continue  # the last bucket counts what all of them hold
                version = labels.get(section.version_label)
                if version is None:
                    made.unnamed += one.count
                else:
                    made.versions[version][name] += one.count
    except ProviderFailure as error:
        made.failure = error
    return made
