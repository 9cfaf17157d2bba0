# SPDX-License-Identifier: AGPL-3.0-or-later
"""The stub of torchvision: a version, and `ops`. Not torchvision: it has no models, transforms or data sets."""

from torchvision import ops

__all__ = ["__version__", "ops"]
__version__ = "0.28.0+stub"
