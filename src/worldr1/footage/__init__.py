"""Any video file as shots that can be scored: cut, upright, without bars, overlays marked, on one budget of frames."""

from worldr1.footage.shots import FootageConfig, Shot, read_shots, shot_of

__all__ = ["FootageConfig", "Shot", "read_shots", "shot_of"]
