"""From a prompt's camera words to a path of camera poses."""
