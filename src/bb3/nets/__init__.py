"""Floor 1: tensors only."""
