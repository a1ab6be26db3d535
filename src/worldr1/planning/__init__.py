"""What a recipe will need before it is run: GPU memory, seconds per update, and what to change if it does not fit."""
