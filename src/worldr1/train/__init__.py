"""Training: what is trained, how a run is kept on disk, and the loop around the rollouts."""
