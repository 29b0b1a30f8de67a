"""Measurements of the claims about why batch normalization helps."""
