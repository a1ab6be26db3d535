"""Suites of prompts, the videos that belong to them, and what the paper published on its own."""
