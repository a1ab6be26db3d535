"""Gaussian scenes: lifted from depth, rendered on the CPU, and compared with images."""
