"""The paper's claims, tried in the mini world: `worldr1 reproduce`."""
