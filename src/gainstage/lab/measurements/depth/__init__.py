"""Measurements of the claims about depth, residual branches and rank."""
