"""Prepare an installation without servers that has a rollout in its replay stage."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from surefoot import wiring
from surefoot.core.domain import RolloutKind, Stage, Version
from surefoot.core.journal.events import ChampionAdopted, Event, RolloutOpened, StageEntered, encode_event
from surefoot.settings import Settings

ROLLOUT = "r1"


def make_settings(home: Path) -> Settings:
    """Settings of an installation whose servers are not there."""
    nowhere = "http://127.0.0.1:9"
    config = Settings(home, home, nowhere, nowhere, nowhere, "token")
    config.save()
    return config


def open_replay_stage(
    config: Settings, policy: Mapping[str, object], versions: tuple[Version, Version], artifacts: Path
) -> None:
    """Journal a rollout that has come to its replay, and put the artifacts of both versions where they are kept.

    Args:
        config: Where everything is.
        policy: Its policy, as it is written.
        versions: Champion and candidate.
        artifacts: Folder with a folder for each version's number.
    """
    champion, candidate = versions
    for version in versions:
        kept = config.home / "artifacts" / version.digest.removeprefix("sha256:")
        if not kept.exists():
            shutil.copytree(artifacts / version.number, kept)
    opened = RolloutOpened(
        ROLLOUT, RolloutKind.PROMOTION, candidate, champion, policy, "", "sha256:0", "salt", 1, "to measure"
    )
    events: tuple[Event, ...] = (
        ChampionAdopted(champion),
        opened,
        StageEntered(ROLLOUT, Stage.SHADOWING, 0, "to measure"),
    )
    now = wiring.make_clock(config).now()
    with wiring.open_journal(config) as journal:
        for head, event in enumerate(events):
            kind, data = encode_event(event)
            journal.append(str(policy["model"]), head, now, "bench", kind, data)
