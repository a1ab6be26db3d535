"""`worldr1 score`: the figures of any video, and what a training reward says about it part by part."""
