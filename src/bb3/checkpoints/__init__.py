"""Floor 2: released checkpoints to safetensors."""
