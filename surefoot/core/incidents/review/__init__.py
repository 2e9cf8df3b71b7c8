"""Choose what a team changes after an incident: regression cases, changes of a policy, and the choice among them."""
