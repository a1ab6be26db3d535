"""Wan 2.1 text-to-video models, the mini one included, behind `protocols.VideoPolicy`."""

from worldr1.backends.wan.policy import WanPolicy
from worldr1.backends.wan.vae import decode_latents, encode_moments, encode_video

__all__ = ["WanPolicy", "decode_latents", "encode_moments", "encode_video"]
