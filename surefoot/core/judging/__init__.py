"""Judge evidence by thresholds, and check that a journalled verdict can be computed again."""
