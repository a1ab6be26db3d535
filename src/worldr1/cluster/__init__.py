"""Rewards elsewhere: the trainer's pool of reward actors on Ray, which is imported only when a run asks for it."""
