"""Missing parts of Detectron2 are explained, and the runtime works in every process."""

import importlib
import multiprocessing
import sys

import detectron2
import pytest
import torch
from detectron2.structures import BitMasks, Boxes

from tests.helpers.runtime import standalone_only


@standalone_only
@pytest.mark.parametrize(
    "name",
    [
        "detectron2.data.detection_utils",
        "detectron2.model_zoo",
        "detectron2.modeling.roi_heads",
        "detectron2.modeling.roi_heads.fast_rcnn",
        "detectron2.modeling.backbone.resnet",
        "detectron2.projects.point_rend",
        "detectron2.utils.memory",
    ],
)
def test_standalone_missing_module_says_to_install_detectron2(name):
    with pytest.raises(ModuleNotFoundError, match="install Detectron2"):
        importlib.import_module(name)


@standalone_only
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("detectron2", "model_zoo"),
        ("detectron2", "projects"),
        ("detectron2.checkpoint", "c2_model_loading"),
        ("detectron2.data", "DatasetMapper"),
        ("detectron2.data.samplers", "RepeatFactorTrainingSampler"),
        ("detectron2.data.transforms", "RandomBrightness"),
        ("detectron2.engine", "DefaultPredictor"),
        ("detectron2.engine.hooks", "TorchProfiler"),
        ("detectron2.layers", "FrozenBatchNorm2d"),
        ("detectron2.modeling", "build_resnet_backbone"),
        ("detectron2.solver", "WarmupCosineLR"),
        ("detectron2.structures", "PolygonMasks"),
        ("detectron2.utils.logger", "log_first_n"),
        ("detectron2.config", "LazyConfig"),
        ("detectron2.layers.wrappers", "paste_masks_in_image"),
    ],
)
def test_standalone_missing_name_says_to_install_detectron2(module, name):
    with pytest.raises(ImportError, match=f"has no '{module}.{name}'; install Detectron2"):
        exec(f"from {module} import {name}")
    with pytest.raises((AttributeError, ImportError), match="install Detectron2"):
        getattr(importlib.import_module(module), name)


@standalone_only
def test_standalone_missing_methods_say_to_install_detectron2():
    with pytest.raises(AttributeError, match="clip'; install Detectron2"):
        _ = Boxes(torch.zeros(1, 4)).clip
    with pytest.raises(AttributeError, match="get_bounding_boxes'; install Detectron2"):
        _ = BitMasks(torch.zeros(1, 2, 2)).get_bounding_boxes


@standalone_only
def test_standalone_other_packages_are_not_touched():
    with pytest.raises(ModuleNotFoundError, match="No module named"):
        importlib.import_module("detectron2_other_package")


def _builds_a_config(queue):
    from detectron2.config import get_cfg

    queue.put((get_cfg().VERSION, sys.modules["detectron2"].__version__))


def test_runtime_is_the_same_in_spawned_processes():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_builds_a_config, args=(queue,))
    process.start()
    assert queue.get(timeout=120) == (2, detectron2.__version__)
    process.join()


def test_unknown_special_attributes_are_missing_as_usual():
    assert not hasattr(importlib.import_module("detectron2.config"), "__no_such_dunder__")
