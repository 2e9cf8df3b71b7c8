"""What a policy can see before any request has come: what each step finds, proves, and how long that takes."""

from surefoot.core.planning.notes import notes
from surefoot.core.planning.plan import plan
from surefoot.core.planning.sight import Sight, false_alarms_a_year

__all__ = ["Sight", "false_alarms_a_year", "notes", "plan"]
