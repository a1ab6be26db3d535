"""Judges that no reward has met: what they find in videos, and whether training reached its targets."""
