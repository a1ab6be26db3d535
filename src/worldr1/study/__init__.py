"""A double-blind A/B study of two evaluations: made, served to people, and analysed."""
