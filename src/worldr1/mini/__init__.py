"""The mini world: procedural scenes with exact geometry, their prompts, and the small models that live in it."""
