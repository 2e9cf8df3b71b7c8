"""Engines that split live traffic."""
