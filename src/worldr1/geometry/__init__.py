"""Pure geometry: rigid poses and the pinhole camera."""
