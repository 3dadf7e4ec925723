"""Operations of the model, each in plain PyTorch and in a faster version.

A model is built from the plain modules. `accelerate.accelerate` replaces them by the faster ones.
"""
