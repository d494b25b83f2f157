"""Scripts that train and measure the models."""
