"""Connect the demo to the running stack, and show what the journal records."""

from surefoot import wiring
from surefoot.cli.local.prefect_access import open_prefect_client
from surefoot.cli.printing.console import colour_outcome_words, console, format_utc_time
from surefoot.core.access.run_requests import RunOrder
from surefoot.core.domain import Outcome
from surefoot.core.incidents.incident_events import EvidenceHeld
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.journal.events import EffectDone, EffectIntended, GateJudged, decode_event
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.journal.watch_events import ChampionJudged, ChampionWatched
from surefoot.core.tables.data_events import DataCheckpointRequested, DataProved, DataRestoreRequested
from surefoot.demo.demo_approval import sign_approval
from surefoot.rollout import adopt_champions
from surefoot.settings import Settings

_QUIET = (
    EffectIntended,
    EffectDone,
    DataCheckpointRequested,
    DataRestoreRequested,
    DataProved,
    EvidenceHeld,
)
"""Events that the audience is not told."""


class DemoEnvironment:
    """The running stack as the story sees it."""

    def __init__(self, config: Settings) -> None:
        """Remember where everything is."""
        self.config = config
        self.mlflow = config.mlflow
        self.gateway = config.gateway
        self._model = "flights-late"
        self._told: set[tuple[str, str, str, str]] = set()

    def ledger(self) -> Ledger:
        """The state of the model."""
        return fold_entries(self._model, self.entries(0))

    def entries(self, after: int) -> tuple[Entry, ...]:
        """Journal entries above a sequence."""
        with wiring.open_journal(self.config) as journal:
            return journal.read(self._model, after=after)

    def adopt(self) -> None:
        """Serve the champion that the registry names."""
        with wiring.open_ports(self.config, "demo") as ports:
            adopt_champions(ports, wiring.read_policies(self.config))

    def approve(self) -> None:
        """Let the release manager sign what the rollout waits for."""
        with wiring.open_ports(self.config, "demo") as ports:
            self.announce(f"{sign_approval(ports, self._model, self.config.home)} has seen the evidence, and signs")

    def start_promotion(self, number: str, reason: str) -> None:
        """Start a run of the deployment `promote`, as the form in Prefect does."""
        order = RunOrder("promote", self._model, number, reason=reason)
        proof = wiring.prove_run_request(self.config, order, "demo")
        body = {"parameters": {"model": self._model, "version": number, "reason": reason, **proof}}
        with open_prefect_client(self.config) as api:
            found = api.get("/deployments/name/promote/promote").raise_for_status().json()
            api.post(f"/deployments/{found['id']}/create_flow_run", json=body).raise_for_status()

    def announce(self, text: str) -> None:
        """Tell the audience."""
        console.print(f"[bold cyan]·[/bold cyan] {text}")

    def show(self, entry: Entry) -> None:
        """Show what matters of the journal: every turn, and each gate's answer when it changes."""
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, _QUIET):
            return
        if isinstance(event, GateJudged):
            key = (event.rollout, f"{event.stage}{event.step}", event.verdict.gate, event.verdict.outcome.value)
            waiting = (
                event.verdict.outcome in {Outcome.INCONCLUSIVE, Outcome.NO_DATA} and event.stage.value != "Shadowing"
            )
            if key in self._told or waiting:
                return
            self._told.add(key)
        if isinstance(event, ChampionJudged | ChampionWatched) and not self._news(event):
            return
        sentence = colour_outcome_words(" ".join(describe_event(event).split()))
        console.print(f"    {format_utc_time(entry.at)}  {sentence}")

    def _news(self, event: ChampionJudged | ChampionWatched) -> bool:
        """Whether a look at the champion has found something that was not told yet."""
        if isinstance(event, ChampionJudged):
            found = [event.verdict.gate] if event.verdict.outcome is Outcome.FAIL else []
        else:
            found = [one.partition(":")[0] for one in (*event.alarms, *event.early)]
        keys = {("watch", name, "", event.champion.number) for name in found}
        news = bool(keys - self._told)
        self._told |= keys
        return news
