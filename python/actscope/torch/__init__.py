"""Activations and gradients of PyTorch models in training: see Monitor."""
from ._monitor import Alarm, Monitor

__all__ = ["Monitor", "Alarm"]
