"""Read counter samples, with the labels of their series, from a Prometheus server over HTTP."""

import os
from collections.abc import Mapping

import httpx

from surefoot.adapters.evidence_providers.provider_failure import ProviderFailure, ProviderProblem, redact_secrets
from surefoot.core.policy.evidence.evidence_section import PrometheusSection

Labels = tuple[tuple[str, str], ...]
"""Labels of a series, sorted."""
Samples = Mapping[Labels, list[tuple[float, float]]]
"""Samples of each series in order: (when [Unix seconds], value)."""
_CHUNK_S = 6 * 3600.0
"""So much is asked for at once: a server limits the samples of one question [seconds]."""
_MAX_POINTS = 10_000
"""Most points of a series that a server gives at once [count]."""
_MIN_STEP_S = 60.0


class PrometheusApi:
    """One Prometheus server; what was read is kept for the other gates of the same look."""

    def __init__(
        self, section: PrometheusSection, timeout: float, environment: Mapping[str, str] | None = None
    ) -> None:
        """Ask nothing yet.

        Args:
            section: Where the server is.
            timeout: How long an answer is waited for [seconds].
            environment: Where the bearer token is; that of this process without it.
        """
        known = os.environ if environment is None else environment
        self._section, self._timeout = section, timeout
        self._token = known.get(section.token_variable, "") if section.token_variable else ""
        self._kept: dict[tuple[str, float, float, bool], Samples] = {}

    @property
    def place(self) -> str:
        """The server, for messages."""
        return f"Prometheus at {self._section.url}"

    def read_samples(self, selector: str, since: float, until: float) -> Samples:
        """Every sample of some series in a window, as it was scraped.

        Args:
            selector: Selects the series.
            since: Beginning of the window, not included [Unix seconds].
            until: End of the window [Unix seconds].

        Raises:
            ProviderFailure: The server is down, slow or incomplete, or does not take the question.
        """
        key = (selector, since, until, True)
        if key not in self._kept:
            made: dict[Labels, list[tuple[float, float]]] = {}
            begin = since
            while begin < until:
                end = min(begin + _CHUNK_S, until)
                question = {"query": f"{selector}[{max(int((end - begin) * 1000), 1)}ms]", "time": repr(end)}
                _add(made, self._ask("query", question), since)
                begin = end
            self._kept[key] = made
        return self._kept[key]

    def read_steps(self, selector: str, since: float, until: float) -> Samples:
        """Samples of some series at even steps of a long window, its end included.

        Args:
            selector: Selects the series.
            since: Beginning of the window [Unix seconds].
            until: End of the window [Unix seconds].

        Raises:
            ProviderFailure: The server is down, slow or incomplete, or does not take the question.
        """
        key = (selector, since, until, False)
        if key not in self._kept:
            step = max((until - since) / _MAX_POINTS, _MIN_STEP_S)
            first = until - int((until - since) / step) * step
            question = {"query": selector, "start": repr(first), "end": repr(until), "step": repr(step)}
            made: dict[Labels, list[tuple[float, float]]] = {}
            _add(made, self._ask("query_range", question), since - 1.0)
            self._kept[key] = made
        return self._kept[key]

    def _ask(self, path: str, question: Mapping[str, str]) -> list[dict[str, object]]:
        """The series of an answer."""
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        address = f"{self._section.url.rstrip('/')}/api/v1/{path}"
        try:
            answer = httpx.post(address, data=dict(question), headers=headers, timeout=self._timeout)
            body = answer.json()
        except httpx.TimeoutException as error:
            raise self._failure(ProviderProblem.SLOW, f"has not answered for {self._timeout:g} s") from error
        except httpx.HTTPError as error:
            raise self._failure(ProviderProblem.DOWN, f"does not answer: {error}") from error
        except ValueError as error:
            said = f"gives no JSON: HTTP {answer.status_code}"
            raise self._failure(ProviderProblem.UNUSABLE, said) from error
        said = str(body.get("error", f"HTTP {answer.status_code}"))
        if body.get("errorType") in {"timeout", "canceled"}:
            raise self._failure(ProviderProblem.SLOW, said)
        if answer.is_server_error:
            raise self._failure(ProviderProblem.DOWN, said)
        if body.get("status") != "success":
            raise self._failure(ProviderProblem.UNUSABLE, f"does not take the question: {said}")
        if warnings := body.get("warnings"):
            raise self._failure(ProviderProblem.PARTIAL, f"gives only a part: {'; '.join(map(str, warnings))}")
        return list(body["data"]["result"])

    def _failure(self, problem: ProviderProblem, said: str) -> ProviderFailure:
        return ProviderFailure(problem, f"{self.place} {redact_secrets(said, [self._token])}")


def _add(made: dict[Labels, list[tuple[float, float]]], series: list[dict[str, object]], since: float) -> None:
    """Add the samples of an answer that come after those that are known."""
    for one in series:
        metric: Mapping[str, str] = one["metric"]  # type: ignore[assignment]
        known = made.setdefault(tuple(sorted(metric.items())), [])
        for at, value in one["values"]:  # type: ignore[attr-defined]
            if float(at) > (known[-1][0] if known else since):
                known.append((float(at), float(value)))
