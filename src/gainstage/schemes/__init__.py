"""Floor 3, initialization: layer schemes, the planner that picks one for each layer, and `initialize`."""

from gainstage.schemes.base import SCHEMES, LayerScheme, Site, preserving_gain, register
from gainstage.schemes.catalogue import scheme, scheme_names
from gainstage.schemes.catalogue.glorot import glorot
from gainstage.schemes.catalogue.he import he
from gainstage.schemes.catalogue.lecun import lecun
from gainstage.schemes.initialize import initialize, planned
from gainstage.schemes.planner import Plan, follower, plan
from gainstage.schemes.prediction import Prediction, predict
from gainstage.schemes.report import InitReport, Row
from gainstage.schemes.variances import draw

__all__ = [
    "SCHEMES",
    "InitReport",
    "LayerScheme",
    "Plan",
    "Prediction",
    "Row",
    "Site",
    "draw",
    "follower",
    "glorot",
    "he",
    "initialize",
    "lecun",
    "plan",
    "planned",
    "predict",
    "preserving_gain",
    "register",
    "scheme",
    "scheme_names",
]
