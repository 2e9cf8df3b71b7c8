"""Metrics, alert rules and dashboard, held against the tools of Prometheus and a server that scrapes a real stack."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from surefoot.core.domain import Outcome, Role, Stage, Verdict
from surefoot.core.journal.events import GateJudged
from surefoot.status_page.page_server import serve_status_page
from tests.conftest import free_port
from tests.integration.emergency import MODEL, Emergency
from tests.integration.prometheus_process import program, prometheus
from tests.integration.waiting import wait_for

ROOT = Path(__file__).parents[2]
RULES, DASHBOARD = ROOT / "docs" / "monitoring" / "alerts.yml", ROOT / "docs" / "monitoring" / "dashboard.json"
_METRIC = re.compile(r"\bsurefoot_\w+")
_SUFFIX = re.compile(r"_(bucket|sum|count)$")


@pytest.fixture
def served(emergency: Emergency) -> Iterator[Emergency]:
    """A gateway and a status page with a rollout under way, one that was aborted, and a few verdicts."""
    emergency.config = replace(emergency.config, page=f"http://127.0.0.1:{free_port()}")
    emergency.config.save()
    emergency.ramp()
    assert emergency.command("abort", MODEL, "-m", "test") == 0
    emergency.ramp()
    for look, outcome in enumerate((Outcome.INCONCLUSIVE, Outcome.INCONCLUSIVE, Outcome.PASS), 1):
        verdict = Verdict("errors", "error_rate", outcome, Role.GUARDRAIL, "told", 100)
        emergency.append(GateJudged("rollout-2", Stage.RAMPING, 0, look, verdict))
    with serve_status_page(emergency.config):
        yield emergency


def metrics(stack: Emergency) -> dict[str, str]:
    """The text of both addresses, by job."""
    addresses = {"surefoot-gateway": stack.config.gateway, "surefoot": stack.config.page}
    return {job: httpx.get(f"{url}/metrics", trust_env=False).raise_for_status().text for job, url in addresses.items()}


def families(text: str) -> set[str]:
    """Names of the series, as queries write them."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    return {name for name, kind in kinds.items() if kind != "unknown"}


def expressions() -> dict[str, str]:
    """Every expression of the rules and of the dashboard, by its title, for the model of the test."""
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))  # noqa: TID251 - no policy of ours
    found = {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel["targets"]:
            found[f"{panel['title']} {target['refId']}"] = target["expr"].replace("$model", ".*")
    return found


def test_prometheus_finds_nothing_to_say_against_metrics_and_rules(served: Emergency) -> None:
    """`promtool check metrics` and `check rules` are content."""
    for job, text in metrics(served).items():
        done = subprocess.run(
            [program("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), job
    done = subprocess.run(
        [program("promtool"), "check", "rules", str(RULES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_and_dashboard_ask_for_metrics_that_exist(served: Emergency) -> None:
    """No expression names a metric that neither address has."""
    known = set[str]().union(*(families(text) for text in metrics(served).values()))
    for title, expression in expressions().items():
        asked = {_SUFFIX.sub("", name) for name in _METRIC.findall(expression)}
        assert asked <= known, (title, asked - known)


def test_a_real_prometheus_shows_what_the_journal_says(served: Emergency, tmp_path: Path) -> None:
    """It scrapes both addresses, loads the rules, evaluates each expression, and has the counts of the journal."""
    targets = {"surefoot-gateway": served.config.gateway, "surefoot": served.config.page}
    scraped = [
        {"job_name": job, "scrape_interval": "1s", "static_configs": [{"targets": [url.removeprefix("http://")]}]}
        for job, url in targets.items()
    ]
    with prometheus(tmp_path / "prometheus", "", {"scrape_configs": scraped, "rule_files": [str(RULES)]}) as url:

        def query(text: str) -> list[dict[str, Any]]:
            answer = httpx.get(f"{url}/api/v1/query", params={"query": text}, trust_env=False, timeout=30.0).json()
            assert answer["status"] == "success", (text, answer)
            found: list[dict[str, Any]] = answer["data"]["result"]
            return found

        wait_for(lambda: len(query('up{job=~"surefoot.*"} == 1')) == 2)
        for text in expressions().values():
            query(text)
        verdicts = {row["metric"]["outcome"]: row["value"][1] for row in query("surefoot_gate_verdicts_total")}
        assert verdicts == {"INCONCLUSIVE": "2", "PASS": "1"}
        (ended,) = query("surefoot_rollouts_total")
        assert (ended["metric"]["outcome"], ended["value"][1]) == ("Aborted", "1")
        (opened,) = query("surefoot_open_rollout")
        assert opened["metric"]["stage"] == "Ramping"
        assert query("surefoot_candidate_weight_percent")[0]["value"][1] == "50"
        groups = httpx.get(f"{url}/api/v1/rules", trust_env=False).json()["data"]["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
