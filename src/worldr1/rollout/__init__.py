"""From a prompt's camera plan to a group of sampled videos."""
