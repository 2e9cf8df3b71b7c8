"""What a policy can see before any request has come: what each step finds, proves, and how long that takes."""

from surefoot.core.planning.detectability import Detectability, false_alarms_a_year
from surefoot.core.planning.notes import notes
from surefoot.core.planning.plan import plan

__all__ = ["Detectability", "false_alarms_a_year", "notes", "plan"]
