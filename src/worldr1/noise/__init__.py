"""Gaussian noise that moves with the camera and is exactly white in every frame."""
