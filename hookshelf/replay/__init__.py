"""Sending archived deliveries again: to whom, how often, and what was acknowledged."""
