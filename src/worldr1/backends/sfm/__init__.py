"""Structure from motion without weights: tracks -> bundle adjustment from several starts -> plane sweep.

reconstructor.py is what the rest of worldr1 sees; the others import no torch: they run in a process of their own.
"""
