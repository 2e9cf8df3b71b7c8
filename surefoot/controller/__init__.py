"""Decide before each tick of the scheduled flows whether there is work for them."""
