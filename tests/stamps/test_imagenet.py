"""ImageNet weights of the stamps data set's networks."""

import open_clip
import pytest
import torch

from ovavss_d2.modeling.backbone import build_timm_network
from ovavss_d2.stamps import imagenet
from ovavss_d2.stamps.source import STAMPS_CLIP


def backbone():
    return build_timm_network("tf_efficientnet_lite0", [1, 2, 3], 0.0, {"feature_cls": "getter"})


def clip_trunk():
    return open_clip.CLIP(**STAMPS_CLIP.architecture()).visual.trunk


@pytest.mark.parametrize(
    ("build", "last", "name"),
    [
        (backbone, "model.blocks.4.2.conv_pwl.weight", "_blocks.10._project_conv.weight"),
        (clip_trunk, "conv_head.weight", "_conv_head.weight"),
    ],
)
def test_all_weights_of_the_network_come_from_the_file(build, last, name):
    net = build()
    for value in net.state_dict().values():
        value.zero_()
    imagenet.load_imagenet(net)
    values = list(net.state_dict().values())
    state = torch.load(imagenet.weight_file(), weights_only=True)
    assert torch.equal(values[0], state["_conv_stem.weight"])
    assert torch.equal(net.state_dict()[last], state[name])


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(imagenet, "PACKAGE", "no_such_package")
    with pytest.raises(FileNotFoundError, match=r'pip install -e "\.\[stamps\]"'):
        imagenet.weight_file()
