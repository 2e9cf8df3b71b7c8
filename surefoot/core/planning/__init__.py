"""Plan what each step of a policy finds and proves, and how long that takes, before any request has come."""

from surefoot.core.planning.detectability import Detectability
from surefoot.core.planning.false_alarms import false_alarms_a_year
from surefoot.core.planning.plan import plan_policy
from surefoot.core.planning.policy_notes import list_engine_notes, list_policy_notes

__all__ = ["Detectability", "false_alarms_a_year", "list_engine_notes", "list_policy_notes", "plan_policy"]
