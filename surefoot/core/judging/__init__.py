"""Evidence and thresholds in, verdicts out; and the check that a journalled verdict can be computed again."""
