"""Floor 0: the words everything else is written in. Standard library only."""
