"""Decide nothing, but find out at each tick of the scheduled flows whether there is work for them."""
