"""Floor 3, initialization: variance schemes, the planner that picks one for each layer, and `initialize`."""

from gainstage.schemes.initialize import initialize
from gainstage.schemes.planner import Plan, follower, plan
from gainstage.schemes.report import InitReport, Row
from gainstage.schemes.variances import SCHEMES, Scheme, draw, glorot, he, lecun, scheme, scheme_names

__all__ = [
    "SCHEMES",
    "InitReport",
    "Plan",
    "Row",
    "Scheme",
    "draw",
    "follower",
    "glorot",
    "he",
    "initialize",
    "lecun",
    "plan",
    "scheme",
    "scheme_names",
]
