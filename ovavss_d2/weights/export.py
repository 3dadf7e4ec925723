"""Self-contained models: a folder that holds everything that a model needs.

model.safetensors   weights, in the names of this project
config.yaml         all keys, without paths of this machine
model.json          version of the format, and the vocabularies
clip.json           the architecture of CLIP, if its weights are included
README.md           model card
"""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from safetensors.torch import save_file
from torch import Tensor

from ovavss_d2 import __version__
from ovavss_d2.exported import CLIP_FILE, CONFIG_FILE, EXPORT_VERSION, MODEL_FILE, MODEL_INFO
from ovavss_d2.files import hidden_folder, write_json
from ovavss_d2.modeling import build_model
from ovavss_d2.modeling.clip import architecture, color_statistics
from ovavss_d2.modeling.config_names import training_vocabulary_of, vocabulary_of
from ovavss_d2.weights.checkpoint import check_weight_files, load_inference_config, load_weights
from ovavss_d2.weights.layouts import CONSTANTS, PARTS
from ovavss_d2.weights.model_card import model_card
from ovavss_d2.weights.sources import WeightSource, weight_sources

logger = logging.getLogger(__name__)


def export_model(
    checkpoint: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    config_file: str | os.PathLike | None = None,
    include_frozen: bool = True,
    license_name: str = "other",
) -> Path:
    """Write a self-contained model to a folder, which appears only when it is complete.

    Args:
        checkpoint: the weights.
        folder: for the model; an earlier export is replaced.
        config_file: None: `config.yaml` next to the checkpoint, where training writes it.
        include_frozen: whether the frozen CLIP and audio encoder are in the file. Otherwise the
            config refers to them by name, and they are downloaded where the model is used.
        license_name: for the model card, as model hubs name licenses.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: a file is missing.
        FileExistsError: the folder holds something else.
        ValueError: the weights do not belong to the config, or a frozen part has no name.
    """
    checkpoint, folder = os.fspath(checkpoint), Path(folder)
    config_file = config_file or os.path.join(os.path.dirname(checkpoint), CONFIG_FILE)
    if folder.exists() and any(folder.iterdir()) and not (folder / MODEL_INFO).is_file():
        raise FileExistsError(
            f"'{folder}' is not empty and holds no exported model; give another folder"
        )
    cfg = load_inference_config(os.fspath(config_file), ["MODEL.WEIGHTS", checkpoint])
    check_weight_files(cfg)
    referenced = _referenced_parts(cfg, include_frozen)
    model = build_model(cfg)
    load_weights(model, cfg)
    state = _weights_of(model.state_dict(), tuple(referenced))
    info = {
        "format_version": EXPORT_VERSION,
        "written_by": f"ovavss_d2 {__version__}",
        "vocabulary": _vocabularies(cfg),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with hidden_folder(folder.parent) as temporary:
        new = temporary / "new"
        new.mkdir()
        save_file(state, new / MODEL_FILE, metadata={"format": "pt"})
        portable = _portable_config(cfg, new, set(referenced.values()))
        (new / CONFIG_FILE).write_text(portable.dump(), encoding="utf-8")
        write_json(new / MODEL_INFO, info)
        results = _results_next_to(checkpoint)
        card = model_card(folder.name, portable, info, results, license_name)
        (new / "README.md").write_text(card, encoding="utf-8")
        shutil.copymode(new / CONFIG_FILE, new / MODEL_FILE)  # safetensors makes it private
        if folder.exists():
            folder.rename(temporary / "old")
        new.rename(folder)
    logger.info("%d weights are in '%s'", len(state), folder)
    return folder


def _referenced_parts(cfg: CfgNode, include_frozen: bool) -> dict[str, str]:
    """Prefix and config key of each part that is not in the file; raises a ValueError if one has no
    name."""
    frozen = {
        "CLIP": not include_frozen,
        "AUDIO": not include_frozen and cfg.MODEL.AUDIO.FREEZE,
        "SILENT_LOCALIZER": False,
        "AUDIO_CLASSIFIER": cfg.MODEL.AUDIO_CLASSIFIER.NAME == "CLAP",  # it has other files, too
    }
    found = {}
    sources = {source.key: source for source in weight_sources(cfg)}
    for part in PARTS:
        key = f"MODEL.{part.key}.WEIGHTS"
        if not frozen[part.key]:
            continue
        if not sources.get(key, WeightSource("", key)).is_name():
            include = "" if part.key == "AUDIO_CLASSIFIER" else "include the frozen parts, or "
            raise ValueError(
                f"{key} is '{cfg.MODEL[part.key].WEIGHTS}', which others do not have: {include}set "
                "the key to a published name"
            )
        found[part.prefix] = part.key
    return found


def _weights_of(state: dict[str, Tensor], without: tuple[str, ...]) -> dict[str, Tensor]:
    return {
        name: tensor.contiguous()
        for name, tensor in state.items()
        if not CONSTANTS.search(name) and not name.startswith(without)
    }


def _vocabularies(cfg: CfgNode) -> dict[str, list[str]]:
    """Names of the model: all, those it was trained on, and the novel ones."""
    names, trained = vocabulary_of(cfg), training_vocabulary_of(cfg)
    known = set(trained)
    return {
        "names": list(names),
        "base": list(trained),
        "novel": [name for name in names if name not in known],
    }


def _portable_config(cfg: CfgNode, folder: Path, referenced: set[str]) -> CfgNode:
    """The config without paths and data sets of this machine."""
    cfg = cfg.clone()
    cfg.defrost()
    vocabularies = _vocabularies(cfg)
    cfg.MODEL.CLASSIFIER.VOCABULARY = vocabularies["names"]
    cfg.MODEL.CLASSIFIER.TRAINING_VOCABULARY = vocabularies["base"]
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    cfg.MODEL.WEIGHTS = cfg.MODEL.EMBEDDING_CACHE = cfg.TEST.PREDICTIONS = ""
    cfg.OUTPUT_DIR = "output/exported"
    keys = cfg.MODEL.CLIP
    if "CLIP" not in referenced:
        clip = {
            "model_cfg": architecture(keys.ARCHITECTURE, keys.WEIGHTS),
            "preprocess_cfg": color_statistics(keys.ARCHITECTURE, keys.WEIGHTS),
        }
        write_json(folder / CLIP_FILE, clip)
        keys.ARCHITECTURE = CLIP_FILE
    for part in PARTS:
        if part.key not in referenced:
            cfg.MODEL[part.key].WEIGHTS = ""
    return cfg


def _results_next_to(checkpoint: str) -> dict[str, Any]:
    path = Path(checkpoint).parent / "inference" / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
