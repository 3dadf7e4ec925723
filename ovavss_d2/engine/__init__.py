"""Training: trainer, optimizer, launching and resuming."""
