"""Measurements of the claims about normalization, the initial scale and the learning rate."""
