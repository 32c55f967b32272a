"""Floor 2: language models behind the ``LanguageModel`` port, and the embedder."""
