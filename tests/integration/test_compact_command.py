"""`surefoot compact`: what it prints, what it keeps, and how it refuses."""

import fcntl
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pytest
import yaml

from surefoot import cli, wiring
from surefoot.adapters.config.policy_file import read_policy
from surefoot.adapters.predictions.compaction import compact_log
from surefoot.adapters.predictions.log_files import COMPACTION_FOLDER
from surefoot.adapters.predictions.recorded.recorded_requests import RecordedRequests
from surefoot.core.domain import RolloutKind, Version
from surefoot.core.journal.events import ChampionAdopted, RolloutOpened, encode_event
from surefoot.settings import Settings
from tests.fakes import POLICY
from tests.integration.log_writing import DAY, ROOT, label, named, record, requests, write


@dataclass
class Desk:
    """A terminal in front of a home in which nothing runs."""

    config: Settings
    capture: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch

    def type(self, *words: str) -> tuple[int, str, str]:
        """Run one command: exit code, what it printed, what it complained of."""
        self.patch.setattr(sys, "argv", ["surefoot", "compact", *words])
        self.capture.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = self.capture.readouterr()
        return int(str(left.value.code)), out, err


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A home with a log of two models: `m` has an old and a fresh segment, `n` a fresh one."""
    nowhere = "http://127.0.0.1:9"
    config = Settings(tmp_path, ROOT, nowhere, nowhere, nowhere, "token")
    config.save()
    monkeypatch.setenv("SUREFOOT_HOME", str(tmp_path))
    now = time.time()  # `compact` asks the host's clock
    write(config.log, [record(1, now - 100 * DAY), record(2, now - 99 * DAY)])
    wiring.compact_model_log(config, "m", keep=1000.0)
    write(config.log, [record(3, now), b'{"v":1,'])
    write(config.log, [record(4, now)], model="n")
    return Desk(config, capsys, monkeypatch)


def test_it_says_what_it_did(desk: Desk) -> None:
    """Without a name every model is compacted, and each gets a line."""
    code, out, _ = desk.type()
    lines = out.splitlines()
    assert code == 0
    assert lines == [
        "m  1 segment with 1 row: 0.0 MB became 0.0 MB; 1 torn line left out; 1 table with 2 rows too old and removed",
        "n  1 segment with 1 row: 0.0 MB became 0.0 MB",
    ]
    assert requests(desk.config.log) == named([3])
    assert desk.type()[1].splitlines() == ["m  nothing to do", "n  nothing to do"]


def test_it_keeps_as_long_as_it_is_told(desk: Desk) -> None:
    """`--keep` decides what is too old, and `--json` says it all in numbers."""
    code, out, _ = desk.type("m", "--keep", "120", "--json")
    (found,) = json.loads(out)["models"]
    assert code == 0
    assert found["bytes_before"] > 0 < found["bytes_after"]
    assert {key: value for key, value in found.items() if not key.startswith("bytes")} == {
        "model": "m",
        "segments": 1,
        "rows": 1,
        "torn": 1,
        "merged": 0,
        "removed": 0,
        "removed_rows": 0,
        "reports": 0,
    }
    assert requests(desk.config.log) == named([1, 2, 3])
    (found,) = json.loads(desk.type("m", "--keep", "98", "--json")[1])["models"]
    assert (found["removed"], found["removed_rows"]) == (1, 2)


def test_an_open_rollout_keeps_its_past(desk: Desk) -> None:
    """While a rollout is open nothing expires: its gates compare with a past that must stay as it was."""
    policy, _ = read_policy(ROOT / "configs" / "flights-late.yaml")
    champion, candidate = Version("1", "sha256:" + "1" * 64), Version("2", "sha256:" + "2" * 64)
    opened = RolloutOpened("r1", RolloutKind.PROMOTION, candidate, champion, policy, "", "", "salt", 1, "a test")
    with wiring.open_journal(desk.config) as journal:
        for event in (ChampionAdopted(champion), opened):
            kind, data = encode_event(event)
            journal.append("m", len(journal.read("m")), time.time(), "test", kind, data)
    code, out, _ = desk.type("m")
    assert (code, "too old" in out) == (0, False)
    assert requests(desk.config.log) == named([1, 2, 3])


def test_it_refuses_in_one_line(desk: Desk) -> None:
    """A model that was never logged is exit 2, a log that another process compacts exit 3; nothing changes."""
    code, _, err = desk.type("nobody")
    assert (code, err) == (2, "surefoot: nothing of nobody has been logged; logged: m, n\n")
    with (desk.config.log / "m" / COMPACTION_FOLDER / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, err = desk.type("m")
    assert (code, err) == (3, "surefoot: another process compacts the log of m: wait until that is done\n")
    assert desk.type("m", "--keep", "0")[0] == 2
    assert requests(desk.config.log) == named([1, 2, 3])


def test_the_documented_way_from_the_log_to_a_back_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SQL in docs/record-schema.md makes files that a back-test reads, features as columns."""
    log = tmp_path / "log"
    write(log, [record(number, version="8" if number % 5 == 0 else "7", answered_by="7") for number in range(50)])
    write(log, [label(number, number + 9.0) for number in range(50)], "labels")
    compact_log(log, "m")
    sql = (ROOT / "docs" / "record-schema.md").read_text(encoding="utf-8").split("```sql")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    duckdb.execute(sql.replace("MODEL", "m"))
    found = RecordedRequests(Path("records.parquet"), Path("labels.parquet"))
    assert (found.champion, found.candidate, found.requests) == ("7", "8", 50)
    assert sorted(found.features) == ["place", "x"]
    found.close()


def test_the_policy_says_how_long_records_are_kept(desk: Desk, tmp_path: Path) -> None:
    """`retention` in the policy decides what is too old, and a high-risk model cannot be told to forget sooner."""
    project = tmp_path / "project"
    (project / "configs").mkdir(parents=True)
    replace(desk.config, project=project).save()
    kept = {**POLICY, "model": "m", "tier": "high-risk", "retention": {"log": "1y"}}
    (project / "configs" / "m.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")
    code, out, _ = desk.type("m")
    assert (code, "removed" in out) == (0, False), out
    code, _, err = desk.type("m", "--keep", "30")
    assert code == 2
    assert "m is of tier high-risk, whose records are kept 183 days at least" in " ".join(err.split())
    kept |= {"tier": "standard", "retention": {"log": "30d"}}
    (project / "configs" / "m.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")
    assert "1 table with 2 rows too old and removed" in desk.type("m")[1]
