"""Group-relative policy optimisation as pure math: advantages, loss, phases."""
