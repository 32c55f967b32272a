"""Floor 2: the guard on both sides of the conversation."""
