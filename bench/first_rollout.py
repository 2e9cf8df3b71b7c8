"""Come from a clone to the first rollout of an own model by docs/how-to/own-model.md alone, on three kinds of data.

`python -m bench.first_rollout [--installed] [--only NAME ...] [--json FILE]`: clones this repository and runs every
code block of the page in order, in a fresh folder: commands as they are, Python programs behind the reader's own
training program, files saved under the name in their first line. The page's example is one kind of data; for the others
the names of model, label and unit are replaced. With --installed the first block, which installs, is left out. Exits
with 1 when a row misses its demand.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.documented.code_blocks import Kind, Step, read_steps
from bench.documented.own_models import KINDS, OwnModel
from bench.documented.terminal import Done, Terminal, reader_environment

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path("docs/how-to/own-model.md")
_DEMAND_S = 600.0
"""Longest time of all commands for one kind of data, with those that install [s]."""
_PATIENCE_S = 600.0
"""How long the bench waits for what the page says will come [s]."""
_ADDRESS = re.compile(r"export (\w+)=http\S+ # the address of (?:the )?(\w+) that up has printed")
_Row = dict[str, object]


def row(name: str, value: object, unit: str, demand: str, *, ok: bool) -> _Row:
    """One measured value beside what is demanded of it."""
    made: _Row = {"name": name, "value": value, "unit": unit, "demand": demand, "ok": ok}
    print(f"{'ok    ' if ok else 'WRONG '} {name}: {value} {unit} {f'({demand})' if demand else ''}", flush=True)
    return made


@dataclass
class Reader:
    """A person who does what the page says, step by step.

    Attributes:
        own: Her model.
        terminal: Where she types.
        done: The commands so far.
        waited: Time that no command needed, until the page's next words came true [s].
        rows: One row a command.
    """

    own: OwnModel
    terminal: Terminal
    done: list[Done] = field(default_factory=list)
    waited: float = 0.0
    rows: list[_Row] = field(default_factory=list)

    def follow(self, steps: Sequence[Step]) -> None:
        """Do every step, also behind one that fails, so that all that would stop a reader is named."""
        for place, step in enumerate(steps):
            if step.kind is Kind.FILE:
                (self.terminal.folder / step.name).write_text(step.text, encoding="utf-8")
                continue
            if step.text.startswith("surefoot status"):
                self._wait_until_told("RolloutEnded" if self._asked(steps[:place]) else "ChampionAdopted")
            self._type(step)

    def history(self) -> list[dict[str, object]]:
        """The journal of the model, empty while there is none."""
        done = self.terminal.run(f"surefoot history {self.own.name} --json 2>/dev/null")
        return list(json.loads(done.said)) if done.code == 0 else []

    def _type(self, step: Step) -> None:
        """Type a command or run a program."""
        if not (self.terminal.folder / "requests.parquet").exists():
            self.own.write_table(self.terminal.folder)
        command = self._with_address(step.text)
        if step.kind is Kind.PROGRAM:
            (self.terminal.folder / "own.py").write_text(self.own.training() + step.text, encoding="utf-8")
            command = "python own.py"
        done = self.terminal.run(command)
        ok = done.code in step.exit_codes
        shown = step.text.strip().splitlines()[-1] if step.kind is Kind.PROGRAM else command
        self.done.append(done)
        demand = f"exit {' or '.join(map(str, sorted(step.exit_codes)))}"
        self.rows.append(row(f"{self.own.task}: {shown}", round(done.seconds, 1), "s", demand, ok=ok))
        if not ok:
            print(f"exit {done.code}: {done.said[-3000:]}", flush=True)

    def _with_address(self, command: str) -> str:
        """Put an address that `up` has printed in the place of the page's."""
        if not (found := _ADDRESS.match(command)):
            return command
        printed = "\n".join(done.said for done in self.done)
        address = re.search(rf"^{found[2]}\s+(http\S+)", printed, re.MULTILINE)
        return f"export {found[1]}={address[1]}" if address else command

    def _asked(self, before: Sequence[Step]) -> bool:
        """Whether the alias of a candidate was moved before."""
        return any(step.kind is Kind.PROGRAM and '"candidate"' in step.text for step in before)

    def _wait_until_told(self, kind: str) -> None:
        """Wait until the journal has an event of a kind."""
        began = time.monotonic()
        while time.monotonic() - began < _PATIENCE_S:
            if any(entry["kind"] == kind for entry in self.history()):
                break
            time.sleep(1.0)
        self.waited += time.monotonic() - began


def clone_and_install(folder: Path, steps: Sequence[Step]) -> tuple[dict[str, str], float, list[_Row]]:
    """Clone the repository and type the first block of the page there; the environment, the time [s] and the rows."""
    began = time.monotonic()
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder / "clone")], check=True)
    rows = [row("git clone", round(time.monotonic() - began, 1), "s", "", ok=True)]
    terminal = Terminal(folder / "clone", dict(reader_environment()))
    for step in steps:
        done = terminal.run(step.text)
        rows.append(row(step.text, round(done.seconds, 1), "s", "exit 0", ok=done.code == 0))
        if done.code:
            raise SystemExit(done.said)
    return terminal.environment, time.monotonic() - began, rows


def installed_environment() -> dict[str, str]:
    """The environment of a person who has this repository installed."""
    usual = reader_environment()
    return dict(usual) | {"PATH": f"{Path(sys.executable).parent}:{usual['PATH']}", "PYTHONPATH": str(ROOT)}


def follow_page(own: OwnModel, folder: Path, environment: dict[str, str], before: float) -> list[_Row]:
    """Do everything behind the first block, on one kind of data.

    Args:
        own: The reader's model.
        folder: A fresh folder.
        environment: Where Surefoot is installed.
        before: Time that the installation took [s].
    """
    folder.mkdir()
    steps = [step for step in read_steps(ROOT / PAGE, own.adapt) if step.block > 0]
    reader = Reader(own, Terminal(folder, environment))
    try:
        reader.follow(steps)
        told = [entry for entry in reader.history() if entry["kind"] == "RolloutEnded"]
    finally:
        reader.terminal.end_background()
        reader.terminal.run("surefoot down")
    ended = [str(dict(entry["data"])["sink"]) for entry in told]  # type: ignore[call-overload]
    took = before + sum(done.seconds for done in reader.done)
    first = ended[0] if ended else "no rollout"
    failed = sum(not one["ok"] for one in reader.rows)
    return [
        *reader.rows,
        row(f"{own.task}: commands that do not go as the page says", failed, "", "0", ok=failed == 0),
        row(f"{own.task}: the first rollout ends as", first, "", "Promoted", ok=first == "Promoted"),
        row(
            f"{own.task}: all rollouts end as",
            ", ".join(ended),
            "",
            "a rollback last",
            ok="RolledBack" in ended[-1:][0] if ended else False,
        ),
        row(f"{own.task}: waited between commands", round(reader.waited, 1), "s", "", ok=True),
        row(
            f"{own.task}: all commands, with installation",
            round(took, 1),
            "s",
            f"<= {_DEMAND_S:.0f}",
            ok=took <= _DEMAND_S,
        ),
    ]


def main() -> int:
    """Print every row, write JSON on request; 1 when a row misses its demand."""
    parser = argparse.ArgumentParser(prog="python -m bench.first_rollout", description=__doc__)
    parser.add_argument("--installed", action="store_true", help="use this environment, and clone and install nothing")
    parser.add_argument("--only", nargs="+", choices=[own.name for own in KINDS], help="these models alone")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    rows: list[_Row] = []
    with tempfile.TemporaryDirectory(prefix="surefoot-first-", ignore_cleanup_errors=True) as name:
        environment, before = installed_environment(), 0.0
        if not options.installed:
            install = [step for step in read_steps(ROOT / PAGE) if step.block == 0]
            environment, before, rows = clone_and_install(Path(name), install)
        for own in KINDS:
            if not options.only or own.name in options.only:
                rows += follow_page(own, Path(name) / own.name, environment, before)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2), encoding="utf-8")
    return 0 if all(one["ok"] for one in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
