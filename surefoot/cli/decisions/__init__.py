"""Define the commands by which people decide: approve, deny, pause, resume, freeze and unfreeze."""
