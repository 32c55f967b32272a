"""Floor 2: models, corpora and indexes: where they come from, and bringing them here."""
