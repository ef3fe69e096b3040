"""Weights of networks: which there are, where they lie here, how they get there, and whether they are whole."""

from meshwright.weights.catalogue import FAMILIES, LARGE, MINI, family_named
from meshwright.weights.installed import Installed, installed
from meshwright.weights.store import Store
from meshwright.weights.verify import NetworkFiles

__all__ = ["FAMILIES", "LARGE", "MINI", "Installed", "NetworkFiles", "Store", "family_named", "installed"]
