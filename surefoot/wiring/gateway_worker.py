"""Build the gateway of one worker process from an installation's settings."""

import logging
import os
import sys
from functools import partial

from surefoot.adapters.config.policy_fallback import read_fallback_or_reference
from surefoot.adapters.config.setting_by_model import SettingByModel
from surefoot.core.domain import FailoverLevel, Version
from surefoot.gateway.http.app import Gateway, build_app
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.models.forking.forkserver import Forkserver
from surefoot.models.model_process import ModelProcess, fork_process, spawn_process
from surefoot.models.process_priority import SHADOW_NICENESS
from surefoot.rollout import (
    begin_fallback_period,
    end_fallback_period,
    end_rollout_cut_by_gateway,
)
from surefoot.settings import Settings
from surefoot.wiring.access.access_control import AccessControl
from surefoot.wiring.adapters import make_artifact_cache, make_clock, make_environments
from surefoot.wiring.operation_ports import open_ports

_SHARE = "OTEL_TRACES_SAMPLER_ARG"
"""OpenTelemetry's variable for the share of the traces that are sampled."""
_USUAL_SHARE = 0.01
_log = logging.getLogger(__name__)


def build_gateway(config: Settings, memory_mb: int, forkserver: Forkserver) -> Gateway:
    """The gateway of one worker, with loaders of verified artifacts, which it may not import itself."""
    cache, environments = make_artifact_cache(config), make_environments(config, 0.0)
    knobs = GatewaySettings(
        config.home / "gateway",
        config.token,
        kept=SettingByModel(config.configs, lambda policy: policy.log_policy),
        units=SettingByModel(config.configs, lambda policy: policy.unit),
        fallbacks=SettingByModel(config.configs, partial(read_fallback_or_reference, config.project)),
        otlp=config.otlp,
        traced_share=_traced_share(os.environ.get(_SHARE, "")),
    )

    def launched(nice: int, model: str, version: Version) -> ModelProcess:
        path = cache.verified(version, model)
        arguments = [str(path), version.digest, str(memory_mb), str(nice)]
        if (own := environments(model)) is not None:
            return ModelProcess(spawn_process(own.host_command(path, arguments)))
        slowly = spawn_process([sys.executable, "-m", "surefoot.adapters.mlflow.model_host", *arguments])
        return ModelProcess(fork_process(forkserver, arguments, slowly))

    return build_app(
        knobs,
        make_clock(config),
        partial(launched, 0),
        partial(launched, SHADOW_NICENESS),
        _GatewayJournal(config),
        AccessControl(config),
    )


def _traced_share(text: str) -> float:
    """Share of the requests that are traced, where their caller has not decided [0 to 1]."""
    try:
        share = float(text or _USUAL_SHARE)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        _log.warning("%s is %r, which is no share from 0 to 1: %g is taken", _SHARE, text, _USUAL_SHARE)
        return _USUAL_SHARE
    return share


class _GatewayJournal:
    """Records in the journal what the gateway has done by itself."""

    def __init__(self, config: Settings) -> None:
        self._config = config

    def record_cut(self, model: str, rollout: str, reason: str) -> None:
        """Record a cut; raise when it is not recorded yet."""
        with open_ports(self._config, "gateway") as ports:
            end_rollout_cut_by_gateway(ports, model, rollout, reason)

    def record_fallback_began(
        self, model: str, champion: Version, kind: str, reason: str, standby: Version | None
    ) -> None:
        """Record that callers get answers of another rung, once."""
        with open_ports(self._config, "gateway") as ports:
            begin_fallback_period(ports, model, champion, kind, reason, standby)

    def record_fallback_ended(self, model: str, champion: Version, rung: FailoverLevel) -> None:
        """Record that a version above this rung answers again, once."""
        with open_ports(self._config, "gateway") as ports:
            end_fallback_period(ports, model, champion, rung)
