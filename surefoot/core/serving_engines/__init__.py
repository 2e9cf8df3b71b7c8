"""Describe the engines that can serve a model's versions: what each can do, and which one a model uses."""
