"""Means of records and paired differences between evaluations, with their intervals."""
