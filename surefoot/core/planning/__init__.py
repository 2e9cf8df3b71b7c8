"""Plan what each step of a policy finds and proves, and how long that takes, before any request has come."""

from surefoot.core.planning.detectability import Detectability, false_alarms_a_year
from surefoot.core.planning.notes import notes
from surefoot.core.planning.plan import plan

__all__ = ["Detectability", "false_alarms_a_year", "notes", "plan"]
