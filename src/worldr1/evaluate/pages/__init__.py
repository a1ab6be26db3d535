"""Every page as one HTML file that needs no network: reports, comparisons, scores, with their charts and pictures."""
