"""Measurements of the confrontations: several explanations on the same networks."""
