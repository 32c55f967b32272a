"""Floor 6: settings, presets, and the only place that picks implementations."""
