"""Prompt sets: the taxonomy they are planned by, their files, loading, checking and writing more of them."""
