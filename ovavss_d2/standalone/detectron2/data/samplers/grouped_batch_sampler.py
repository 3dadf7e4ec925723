"""`GroupedBatchSampler`: batches of indices of one group each."""

from torch.utils.data import BatchSampler, Sampler


class GroupedBatchSampler(BatchSampler):
    """Collects the indices of another sampler into batches whose elements share a group.

    A batch is handed out as soon as its group has enough indices, so the order stays close to that
    of the sampler. Incomplete batches are dropped.
    """

    def __init__(self, sampler: Sampler, group_ids: list[int], batch_size: int):
        """
        Args:
            sampler: yields indices in [0, N).
            group_ids: (N,) the group of each element.
            batch_size: elements of a batch.
        """
        if not isinstance(sampler, Sampler):
            raise ValueError(
                "sampler should be an instance of torch.utils.data.Sampler, "
                f"but got sampler={sampler}"
            )
        self.sampler = sampler
        self.group_ids = [int(group) for group in group_ids]
        self.batch_size = batch_size

    def __iter__(self):
        waiting = {}
        for index in self.sampler:
            batch = waiting.setdefault(self.group_ids[index], [])
            batch.append(index)
            if len(batch) == self.batch_size:
                del waiting[self.group_ids[index]]
                yield batch

    def __len__(self):
        raise NotImplementedError("the number of batches depends on the order of the groups")
