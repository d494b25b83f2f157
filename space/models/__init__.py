"""The models: from pixels to logits; where they run, and where they come from."""
