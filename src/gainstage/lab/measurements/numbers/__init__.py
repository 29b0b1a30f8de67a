"""Measurements of the claims about batch size, inference and the range of numbers."""
