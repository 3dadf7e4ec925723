"""Where configs are: files, the folders of exported models, and the shipped ones by name."""

import json
import os
import re
from pathlib import Path

CONFIG_FILE = "config.yaml"
# Other files of an exported model's folder (weights/export.py), and the version of its format.
MODEL_FILE = "model.safetensors"
MODEL_INFO = "model.json"
CLIP_FILE = "clip.json"
EXPORT_VERSION = 1
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")  # of a model on huggingface.co

_PACKAGE = Path(__file__).parent
_SHIPPED = (_PACKAGE / "configs", _PACKAGE.parent / "configs")  # installed, and in a clone


def find_config(config_file: str | os.PathLike[str]) -> str:
    """The path of a config.

    Args:
        config_file: the path of a YAML file, the folder of an exported model, or the name of a
            shipped config, such as "ovavss_R50.yaml".

    Raises:
        FileNotFoundError: there is none.
    """
    path = Path(config_file)
    if path.is_dir():
        if not (path / CONFIG_FILE).is_file():
            raise FileNotFoundError(
                f"the folder '{path}' holds no {CONFIG_FILE}, expected a config file, or a folder "
                "of tools/export_model.py"
            )
        return str(path / CONFIG_FILE)
    if path.is_file():
        return str(path)
    for folder in _SHIPPED:
        if path.parent.name in ("", "configs") and (folder / path.name).is_file():
            return str(folder / path.name)
    names = sorted({file.name for folder in _SHIPPED for file in folder.glob("*.yaml")})
    raise FileNotFoundError(f"no config file at '{path}'; the shipped ones are {', '.join(names)}")


def exported_opts(folder: str | os.PathLike[str]) -> list[str]:
    """`KEY VALUE` pairs of the files in an exported model's folder, which the config leaves open.

    Raises:
        FileNotFoundError: the folder holds no model.
        ValueError: a newer version wrote it, or its description is damaged.
    """
    folder = Path(folder)
    for name in MODEL_FILE, MODEL_INFO:
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"the folder '{folder}' holds no {name}, expected a model of tools/export_model.py"
            )
    try:
        version = json.loads((folder / MODEL_INFO).read_text(encoding="utf-8"))["format_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"'{folder / MODEL_INFO}' is damaged: {type(error).__name__}") from error
    if version != EXPORT_VERSION:
        raise ValueError(
            f"'{folder}' has format version {str(version)[:20]}, expected {EXPORT_VERSION}; "
            "update ovavss_d2"
        )
    # The folder may come from others: it names no path to read or to write.
    opts = ["MODEL.WEIGHTS", str(folder), "MODEL.EMBEDDING_CACHE", "", "TEST.PREDICTIONS", ""]
    opts += ["OUTPUT_DIR", "output/exported"]
    if (folder / CLIP_FILE).is_file():
        opts += ["MODEL.CLIP.ARCHITECTURE", str(folder / CLIP_FILE)]
    return opts
