"""Define the paths, time limits and queue sizes of a gateway."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from surefoot.core.domain import LogPolicy
from surefoot.core.fallback import FAILOVER_TIME_LIMIT_S, FallbackAnswer, FallbackReference
from surefoot.gateway.inference.tripwire import TripLimits


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Settings of a gateway; plain values only.

    Attributes:
        root: State directory: `routes/` and `log/` live in it.
        token: What a caller must present to change a route; never empty.
        candidate_timeout_s: A candidate that has not answered by then is late, counted from when it is asked [s].
        champion_timeout_s: A champion whose process has been at one batch for so long is ended, and asked anew [s].
        processes: Processes of each routed version, where models have processes of their own [count]; as many for
            champion and candidate, so that their latencies can be compared.
        max_batch: Rows that are predicted together [count].
        max_queue: Requests that may wait for one version; more are refused [count].
        max_body_bytes: Largest request body [bytes].
        trip: When a candidate is cut without waiting for a gate.
        ack_patience_s: A worker that has not acknowledged a new route after so long is killed [s].
        control_ttl_s: After so long without a request of the control plane the champion answers everything [s].
        shadow_queue: Requests that may wait for a shadow; more are dropped and counted [count].
        shadow_idle_share: A shadow is asked while at least so much of the host's processors is idle [0 to 1]; after two
            busy looks a whole second must show it, and it is asked a row at first, then twice as much with each look.
        shadow_timeout_s: A shadow whose process has been at one batch for so long is ended [s].
        kept: What of the requests' features stays in the log, by model; all of them where nothing is said. Like units
            it is asked for when a rollout begins, and stays for as long as that lasts.
        units: The column that sticks to one arm, by model; None splits by request.
        fallbacks: What answers a request that no version can answer, by model: answers, or the version that the route
            names as fallback; None refuses it.
        fallback_quiet_s: A time of fallback answers is over when the champion answers and the fallback has answered
            nothing for so long [s].
        otlp: Base URL of the OpenTelemetry collector that gets spans of sampled requests; empty for none.
        traced_share: Share of the requests whose caller has not decided that are sampled [0 to 1].
    """

    root: Path
    token: str
    candidate_timeout_s: float = FAILOVER_TIME_LIMIT_S
    champion_timeout_s: float = 30.0
    processes: int = 1
    max_batch: int = 256
    max_queue: int = 2000
    max_body_bytes: int = 8 << 20
    trip: TripLimits = field(default_factory=TripLimits)
    ack_patience_s: float = 2.0
    control_ttl_s: float = 600.0
    shadow_queue: int = 64
    shadow_idle_share: float = 0.3
    shadow_timeout_s: float = 10.0
    kept: Mapping[str, LogPolicy] = field(default_factory=dict)
    units: Mapping[str, str | None] = field(default_factory=dict)
    fallbacks: Mapping[str, FallbackAnswer | FallbackReference | None] = field(default_factory=dict)
    fallback_quiet_s: float = 60.0
    otlp: str = ""
    traced_share: float = 0.01

    def __post_init__(self) -> None:
        """Refuse an empty token, with which every caller could change routes."""
        if not self.token:
            raise ValueError("the gateway's control token is empty")
