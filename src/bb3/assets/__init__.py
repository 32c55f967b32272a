"""Floor 2: models, corpora and other big files, pulled on first use and checked."""
