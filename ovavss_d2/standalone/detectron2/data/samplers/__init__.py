"""Samplers: the order in which the elements of a data set are read, and by which process."""

from .distributed_sampler import InferenceSampler, TrainingSampler

__all__ = ["InferenceSampler", "TrainingSampler"]
