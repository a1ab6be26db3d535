"""worldr1: reinforcement learning that makes a text-to-video model keep a coherent 3D world.

An open implementation of World-R1 (arXiv 2604.24764). The package root imports nothing, so that `worldr1 --help` is
instant; import what you need from the modules (`worldr1.types` and `worldr1.protocols` are the place to start).
"""

__all__ = ["__version__"]
__version__ = "0.1.0"
