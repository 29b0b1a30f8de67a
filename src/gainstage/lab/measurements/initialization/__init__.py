"""Measurements of the claims about how weights are drawn."""
