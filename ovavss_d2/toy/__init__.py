"""The toy world: a small synthetic data set and the stand-ins for pretrained weights."""
