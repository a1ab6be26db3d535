"""How the mini world's models are made: corpus, damage, one training script per part (`worldr1 mini build PART`)."""
