"""Flow-matching sampling as pure math: the sigma grid, Euler and stochastic steps, guidance. No model in sight."""
