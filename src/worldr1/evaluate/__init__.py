"""What changed: paired evaluations before and after training, their statistics, and the offline report."""
