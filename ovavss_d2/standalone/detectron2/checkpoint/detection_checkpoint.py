"""A checkpointer that also reads the model zoo's `.pkl` files, without trusting them."""

import logging
import os
import pickle
import tempfile
from typing import Any
from urllib.parse import parse_qs, urlsplit

import torch
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from fvcore.common.checkpoint import Checkpointer

from .name_matching import align_names
from .safe_pickle import load_weights_pickle

logger = logging.getLogger(__name__)

HEURISTICS = "matching_heuristics"


class DetectionCheckpointer(Checkpointer):
    """Checkpointer for `.pth` files and for the `.pkl` files of model zoos.

    `.pth` files hold {"model": state dict, ...} or a state dict alone and are read with
    `weights_only=True`. `.pkl` files hold {"model": arrays by name, "__author__": ...,
    "matching_heuristics": bool}. Where "matching_heuristics" is true, or the path ends in
    `?matching_heuristics=True`, names match by their ends. Only the main process needs to have the
    file.

    Args:
        model: the model to save and load.
        save_dir: folder of the checkpoints and of the file `last_checkpoint`, which names the
            newest one.
        save_to_disk: whether `save` writes; None: in the main process only.
        **checkpointables: further objects with `state_dict()` and `load_state_dict()`, saved along.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        save_dir: str = "",
        *,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ):
        if save_to_disk is None:
            save_to_disk = comm.is_main_process()
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.path_manager = PathManager
        self._match_by_ends = False

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint; see `fvcore.common.checkpoint.Checkpointer.load`.

        Args:
            path: file or URL; empty loads nothing.

        Returns:
            What the file holds besides the model and the checkpointables.

        Raises:
            AssertionError: there is no such file.
            ValueError: the file is no checkpoint, or it holds more than weights and plain
                containers.
        """
        logger.info("[DetectionCheckpointer] Loading from %s ...", path)
        if not path:
            return super().load(path, *args, **kwargs)
        path, self._match_by_ends = _split_options(path)
        if comm.get_world_size() == 1:
            return super().load(path, *args, **kwargs)
        with tempfile.TemporaryDirectory() as folder:
            return super().load(self._path_in_every_process(path, folder), *args, **kwargs)

    def _path_in_every_process(self, path: str, folder: str) -> str:
        """The local path; a copy of the main process's file where a process lacks it."""
        exists = os.path.isfile(path)
        if not exists and comm.is_main_process():
            path = self.path_manager.get_local_path(path)
            exists = os.path.isfile(path)
        everywhere = comm.all_gather(exists)
        if not everywhere[0]:
            raise AssertionError(f"Checkpoint {path} not found!")
        if all(everywhere):
            return path
        if comm.is_main_process():
            with open(path, "rb") as file:
                content = file.read()
        else:
            content = None
        content = comm.all_gather(content)[0]
        if exists:
            return path
        copy = os.path.join(folder, os.path.basename(path))
        with open(copy, "wb") as file:
            file.write(content)
        return copy

    def _load_file(self, f: str) -> dict[str, Any]:
        reader = _read_pkl if f.endswith(".pkl") else _read_pth
        try:
            checkpoint = reader(f)
        except OSError:
            raise
        except Exception as error:  # what is no checkpoint fails in many ways while it is read
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            if "weights_only" in reason:  # torch's advice is to read it without protection
                reason = "it holds more than weights and plain containers"
            raise ValueError(f"'{f}' is no readable checkpoint: {reason}") from error
        if self._match_by_ends:
            checkpoint[HEURISTICS] = True
        return checkpoint

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        if checkpoint.get(HEURISTICS, False):
            state = checkpoint["model"]
            self._convert_ndarray_to_tensor(state)
            checkpoint["model"] = align_names(self.model.state_dict(), state)
        incompatible = super()._load_model(checkpoint)
        # Constants of a config; checkpoints from before they were buffers lack them.
        for name in ("pixel_mean", "pixel_std"):
            if name in incompatible.missing_keys:
                incompatible.missing_keys.remove(name)
        return incompatible


def _split_options(path: str) -> tuple[str, bool]:
    """Cut `?matching_heuristics=True` off a path."""
    if os.path.isfile(path) or "?" not in path:
        return path, False
    query = parse_qs(urlsplit(path).query)
    unknown = set(query) - {HEURISTICS}
    if unknown:
        raise ValueError(f"unknown option {sorted(unknown)} in '{path}': expected {HEURISTICS}")
    return path.split("?")[0], query.get(HEURISTICS) == ["True"]


def _read_pth(path: str) -> dict[str, Any]:
    return _with_model_key(
        torch.load(path, map_location=torch.device("cpu"), weights_only=True),
    )


def _read_pkl(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        loaded = load_weights_pickle(file)
    checkpoint = _with_model_key(loaded)
    if "__author__" not in checkpoint and "model" not in loaded:
        raise pickle.UnpicklingError(
            "it has no 'model' (a Caffe2 file?); the standalone runtime does not convert those,"
            " install Detectron2"
        )
    if "__author__" in checkpoint:
        logger.info("Reading a file from '%s'", checkpoint["__author__"])
    return checkpoint


def _with_model_key(loaded: Any) -> dict[str, Any]:
    if not isinstance(loaded, dict):
        raise pickle.UnpicklingError(f"it holds a {type(loaded).__name__}, expected a dict")
    return loaded if "model" in loaded else {"model": loaded}
