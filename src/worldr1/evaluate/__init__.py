"""What was made and how good it is: evaluations and their records, and in the packages what is done with them.

metrics: everything that can be measured of a video. scoring: `worldr1 score`, any video without a prompt set. suites:
the fixed prompts and the videos that are made for them. judging: a 3D model that the reward never met, and the targets
it is held against. statistics: means, paired differences, intervals. pages: everything that becomes HTML.
"""
