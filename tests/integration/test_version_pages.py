"""What a version's own page in MLflow says became of it, on a real MLflow server."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from surefoot.adapters.mlflow.runs.projection import MlflowProjection
from surefoot.adapters.mlflow.runs.run_writer import RunPlots
from surefoot.adapters.mlflow.runs.version_pages import OUTCOME_LINE_PREFIX
from surefoot.core.domain import RolloutKind, Stage, Version
from surefoot.core.errors import RegistryUnavailable
from surefoot.core.journal.chain import GENESIS_HASH, Entry, seal_entry
from surefoot.core.journal.events import (
    CandidateRefused,
    ChampionAdopted,
    Event,
    RolloutEnded,
    RolloutOpened,
    StageEntered,
    encode_event,
)
from surefoot.reports.evidence_over_time import draw_evidence_over_time_png
from surefoot.reports.verdict_plots import draw_slice_losses_png, draw_verdicts_png
from tests.conftest import free_port

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

PICTURES = RunPlots(draw_verdicts_png, draw_slice_losses_png, draw_evidence_over_time_png)
V1, V2, V3, V4 = (Version(number, f"sha256:{number * 64}") for number in "1234")
MINE = "Trained on June.\n\n* see the notebook\n"


def opened(rollout: str, new: Version, old: Version, kind: RolloutKind = RolloutKind.PROMOTION) -> RolloutOpened:
    """A rollout begins."""
    return RolloutOpened(rollout, kind, new, old, {"steps": [{"weight": 5}]}, "", "", "", 1, "asked for")


STORY: tuple[Event, ...] = (
    ChampionAdopted(V1),
    opened("bad", V2, V1),
    RolloutEnded("bad", Stage.ROLLED_BACK, "errors is FAIL: 14.81% of the candidate's 54 units fail"),
    CandidateRefused("3", "alias", "version 3 is FAILED_REGISTRATION: register the model again"),
    opened("good", V4, V1),
    StageEntered("good", Stage.RAMPING, 0, "every gate passed"),
    RolloutEnded("good", Stage.PROMOTED, "baked: every gate passed to the end"),
)
BACK: tuple[Event, ...] = (
    opened("back", V1, V4, RolloutKind.ROLLBACK),
    RolloutEnded("back", Stage.FAST_ROLLED_BACK, "alerts doubled"),
)


def sealed(model: str, events: Sequence[Event]) -> list[Entry]:
    """A journal of these events, written now."""
    entries: list[Entry] = []
    for seq, event in enumerate(events, start=1):
        at = 1_372_000_000.0 + 60.0 * seq
        previous = entries[-1].hash if entries else GENESIS_HASH
        entries.append(
            seal_entry(model, seq, at, time.time() + 0.001 * seq, "flow:promote", *encode_event(event), previous)
        )
    return entries


@pytest.fixture(scope="module")
def client(mlflow_server: str) -> "MlflowClient":
    """MLflow's own client, to look with and to edit with."""
    from mlflow import MlflowClient  # noqa: PLC0415 - costs seconds that a collection should not

    return MlflowClient(tracking_uri=mlflow_server)


@pytest.fixture
def model(client: "MlflowClient") -> str:
    """A registered model with four versions, of which the second has a description of its owner's."""
    name = f"pages-{uuid4().hex[:8]}"
    client.create_registered_model(name)
    run = client.create_run("0")
    for number in "1234":
        text = MINE if number == "2" else None
        client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id, description=text)
    return name


@pytest.fixture
def view(mlflow_server: str) -> MlflowProjection:
    """A projection onto the real server."""
    return MlflowProjection(mlflow_server, PICTURES)


def page(client: "MlflowClient", model: str, number: str) -> "ModelVersion":
    """A version as MLflow tells it."""
    return client.get_model_version(model, number)


def tags(version: "ModelVersion") -> dict[str, str]:
    """Surefoot's tags of a version, by the end of their name."""
    return {key.removeprefix("surefoot."): value for key, value in version.tags.items() if key.startswith("surefoot.")}


def line(version: "ModelVersion") -> str:
    """Surefoot's one line in a description."""
    (found,) = [one for one in (version.description or "").split("\n") if one.startswith(OUTCOME_LINE_PREFIX)]
    return found


def run_name(client: "MlflowClient", version: "ModelVersion") -> str:
    """Name of the run that a page links to."""
    return str(client.get_run(version.tags["surefoot.run"].rsplit("/", 1)[1]).info.run_name)


def test_each_page_says_what_became_of_its_version(
    view: MlflowProjection, client: "MlflowClient", model: str, mlflow_server: str
) -> None:
    """Outcome, reason, rollout and link are tags and a line of each version that the journal tells of, and no other."""
    view.project(model, sealed(model, STORY))
    second = page(client, model, "2")
    assert (tags(second)["outcome"], tags(second)["rollout"]) == ("RolledBack", "bad")
    assert tags(second)["reason"] == "errors is FAIL: 14.81% of the candidate's 54 units fail"
    assert tags(second)["run"].startswith(f"{mlflow_server}/#/experiments/")
    assert run_name(client, second) == "promotion of version 2 (bad)"
    link = f"([rollout bad]({tags(second)['run']}))"
    assert (
        line(second) == f"{OUTCOME_LINE_PREFIX}RolledBack on 2013-06-23 15:09:40 UTC: {tags(second)['reason']} {link}"
    )
    assert str(second.description).startswith(MINE)
    refused = page(client, model, "3")
    assert tags(refused) == {"outcome": "Refused", "reason": STORY[3].reason}  # type: ignore[union-attr]
    assert line(refused).startswith(
        f"{OUTCOME_LINE_PREFIX}Refused on 2013-06-23 15:10:40 UTC: version 3 is FAILED_REGISTRATION"
    )
    assert tags(page(client, model, "4"))["outcome"] == "Promoted"
    assert (tags(page(client, model, "1")), page(client, model, "1").description) == ({}, "")


def test_a_page_follows_its_version_and_nothing_is_written_twice(
    view: MlflowProjection, client: "MlflowClient", model: str
) -> None:
    """An open rollout says its stage; its end, or a later rollback, replaces it; without news nothing is written."""
    view.project(model, sealed(model, STORY[:6]))
    assert tags(page(client, model, "4"))["outcome"] == "Ramping step 1"
    assert " since 2013-" in line(page(client, model, "4"))
    entries = sealed(model, [*STORY, *BACK])
    view.project(model, entries)
    taken = page(client, model, "4")
    assert (tags(taken)["outcome"], tags(taken)["rollout"]) == ("FastRolledBack", "back")
    assert tags(taken)["reason"] == "rollback of version 4 to version 1: alerts doubled"
    assert run_name(client, taken) == "rollback of 4 to 1 (back)"
    before = [page(client, model, number) for number in "1234"]
    assert view.project(model, entries) == 0
    after = [page(client, model, number) for number in "1234"]
    assert [(v.tags, v.description, v.last_updated_timestamp) for v in before] == [
        (v.tags, v.description, v.last_updated_timestamp) for v in after
    ]


def test_what_is_lost_or_edited_is_written_again(view: MlflowProjection, client: "MlflowClient", model: str) -> None:
    """Tags and a line that were edited or deleted say the journal's word again; the owner's text stays."""
    entries = sealed(model, STORY)
    view.project(model, entries)
    whole = page(client, model, "2")
    client.set_model_version_tag(model, "2", "surefoot.outcome", "Promoted")
    client.delete_model_version_tag(model, "2", "surefoot.reason")
    client.set_model_version_tag(model, "2", "team", "blue")
    client.update_model_version(model, "2", f"New first line.\n{OUTCOME_LINE_PREFIX}all is well\nNew last line.")
    assert view.project(model, entries) == 1
    again = page(client, model, "2")
    assert tags(again) == tags(whole)
    assert again.tags["team"] == "blue"
    assert again.description == f"New first line.\n{line(whole)}\nNew last line."
    client.update_model_version(model, "2", "")
    assert view.project(model, entries) == 1
    assert page(client, model, "2").description == line(whole)


def test_a_version_that_was_deleted_is_no_error(view: MlflowProjection, client: "MlflowClient", model: str) -> None:
    """Deleted versions, and a deleted model, are left out; the other pages are written."""
    client.delete_model_version(model, "2")
    entries = sealed(model, STORY)
    view.project(model, entries)
    assert tags(page(client, model, "4"))["outcome"] == "Promoted"
    client.delete_registered_model(model)
    assert view.project(model, entries) == 0


def test_a_model_made_again_is_not_told_the_old_ones_story(
    view: MlflowProjection, client: "MlflowClient", model: str
) -> None:
    """A version with the number of an earlier one that came after the journal's word is another version."""
    entries = sealed(model, STORY[:3])
    before = time.time() - 3600.0
    old = [seal_entry(model, e.seq, e.at, before, e.actor, e.kind, e.data, "") for e in entries]
    view.project(model, old)
    assert tags(page(client, model, "2")) == {}


def test_older_versions_than_one_call_reads_are_told_too(
    view: MlflowProjection, client: "MlflowClient", model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The versions that the last entries tell of are written even when many newer versions are registered."""
    monkeypatch.setattr("surefoot.adapters.mlflow.runs.version_pages.MAX_NEWEST_VERSIONS", 1)
    view.project(model, sealed(model, STORY))
    assert [tags(page(client, model, number)).get("outcome") for number in "1234"] == [
        None,
        "RolledBack",
        "Refused",
        "Promoted",
    ]


def test_odd_and_long_reasons_are_shown(view: MlflowProjection, client: "MlflowClient", model: str) -> None:
    """A reason of any text and length becomes one line, whose markup is text and no link."""
    odd = "[click](http://evil) <b>now</b>\n\x00 \ud800 " + "x" * 90_000
    view.project(model, sealed(model, [*STORY[:2], RolloutEnded("bad", Stage.ABORTED, odd.replace("\ud800", "?"))]))
    second = page(client, model, "2")
    assert len(tags(second)["reason"]) <= 500
    assert "\\[click\\](http://evil) \\<b\\>now" in line(second)
    assert len(str(second.description)) <= 5000


def test_a_registry_that_is_down_is_unavailable() -> None:
    """With MLflow down the projection says so, as for its runs: the next tick writes the pages."""
    view = MlflowProjection(f"http://127.0.0.1:{free_port()}", PICTURES, deadline_s=0.5)
    with pytest.raises(RegistryUnavailable):
        view.project("m", sealed("m", STORY))
