"""`worldr1 doctor --recipe`: does a recipe with its weights do on this machine what it must, before days are spent."""
