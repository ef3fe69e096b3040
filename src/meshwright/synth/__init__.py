"""Procedural objects with exact ground truth: examples, and inputs that are untidy on purpose."""

from meshwright.synth.dataset import SynthConfig, write_example
from meshwright.synth.disturb import DisturbConfig, disturb
from meshwright.synth.objects import list_objects

__all__ = ["DisturbConfig", "SynthConfig", "disturb", "list_objects", "write_example"]
