"""ImageNet weights of the stamps data set's backbone."""

import pytest
import torch

from ovavss_d2.modeling.backbone import build_timm_network
from ovavss_d2.stamps import imagenet


def test_all_weights_of_the_network_come_from_the_file():
    net = build_timm_network("tf_efficientnet_lite0", [1, 2, 3], 0.0, {})
    for value in net.state_dict().values():
        value.zero_()
    imagenet.load_imagenet(net)
    state = torch.load(imagenet.weight_file(), weights_only=True)
    assert torch.equal(net.state_dict()["conv_stem.weight"], state["_conv_stem.weight"])
    last = net.state_dict()["blocks.6.0.conv_pwl.weight"]
    assert torch.equal(last, state["_blocks.15._project_conv.weight"])


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(imagenet, "PACKAGE", "no_such_package")
    with pytest.raises(FileNotFoundError, match=r'pip install -e "\.\[stamps\]"'):
        imagenet.weight_file()
