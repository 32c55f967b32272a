"""Floor 2: what may be remembered, de-duplication, retrieval, forgetting."""
