"""`BitMasks`: the masks of an image's objects. Shape letters: N objects, H W pixels."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from detectron2.missing import PartialClass


class BitMasks(PartialClass):
    """N masks in the bool tensor `tensor` (N, H, W); `image_size` is (H, W)."""

    def __init__(self, tensor: torch.Tensor | np.ndarray):
        """
        Args:
            tensor: (N, H, W) masks in any form that `torch.as_tensor` takes.
        """
        if isinstance(tensor, torch.Tensor):
            tensor = tensor.to(torch.bool)
        else:
            tensor = torch.as_tensor(np.asarray(tensor), dtype=torch.bool)
        if tensor.dim() != 3:
            raise AssertionError(f"expected masks (N, H, W), got {tuple(tensor.shape)}")
        self.image_size = tensor.shape[1:]
        self.tensor: torch.Tensor = tensor

    def to(self, *args: Any, **kwargs: Any) -> "BitMasks":
        """Return the masks on another device; arguments are those of `Tensor.to`."""
        return BitMasks(self.tensor.to(*args, **kwargs))

    @property
    def device(self) -> torch.device:
        """The device of the masks."""
        return self.tensor.device

    def __getitem__(self, item: int | slice | torch.Tensor) -> "BitMasks":
        """Return the selected masks; an integer gives one mask as `BitMasks`, too."""
        tensor = self.tensor[item]
        return BitMasks(tensor[None] if isinstance(item, int) else tensor)

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield from self.tensor

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_instances={len(self)})"

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def nonempty(self) -> torch.Tensor:
        """Whether each mask has a pixel, bool (N,)."""
        return self.tensor.flatten(1).any(dim=1)

    @staticmethod
    def cat(bitmasks_list: list["BitMasks"]) -> "BitMasks":
        """Concatenate a non-empty list of masks of the same image size."""
        return BitMasks(torch.cat([masks.tensor for masks in bitmasks_list], dim=0))
