"""The small models of the mini world: definitions only; weights lie in `mini/weights`, training in `pretrain`."""
