"""`DetectionCheckpointer`, which saves and loads `.pth` files; `.pkl` files are not implemented."""

import logging
import os
import tempfile
from typing import Any

import torch
from detectron2.missing import missing_message
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from fvcore.common.checkpoint import Checkpointer

logger = logging.getLogger(__name__)


class DetectionCheckpointer(Checkpointer):
    """Checkpointer for `.pth` files, of which only the main process needs a copy.

    A file holds {"model": state dict, ...} or a state dict, and is read with `weights_only=True`.

    Args:
        model: the model to save and load.
        save_dir: folder of the checkpoints and of the file `last_checkpoint`, which names the
            newest one.
        save_to_disk: whether `save` writes; None: in the main process only.
        **checkpointables: further objects with `state_dict()` and `load_state_dict()` to save and
            load.
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

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint; see `fvcore.common.checkpoint.Checkpointer.load`.

        Args:
            path: file or URL; an empty path loads nothing.

        Returns:
            The content of the file except for the model and the checkpointables.

        Raises:
            AssertionError: the file does not exist.
            ValueError: the file is not a checkpoint, or it holds more than weights and plain
                containers.
        """
        logger.info("[DetectionCheckpointer] Loading from %s ...", path)
        if not path or comm.get_world_size() == 1:
            return super().load(path, *args, **kwargs)
        with tempfile.TemporaryDirectory() as folder:
            return super().load(self._path_in_every_process(path, folder), *args, **kwargs)

    def _path_in_every_process(self, path: str, folder: str) -> str:
        """Return the local path, after copying the main process's file where it is missing."""
        exists = os.path.isfile(path)
        if not exists and comm.is_main_process():
            path = self.path_manager.get_local_path(path)
            exists = os.path.isfile(path)
        everywhere = comm.all_gather(exists)
        if not everywhere[0]:
            raise AssertionError(f"Checkpoint {path} not found!")
        if all(everywhere):
            return path
        content = b""
        if comm.is_main_process():
            with open(path, "rb") as file:
                content = file.read()
        content = comm.all_gather(content)[0]
        if exists:
            return path
        copy = os.path.join(folder, os.path.basename(path))
        with open(copy, "wb") as file:
            file.write(content)
        return copy

    def _load_file(self, f: str) -> dict[str, Any]:
        if f.endswith(".pkl"):
            raise ValueError(missing_message(f"reading of '{f}'"))
        try:
            content = torch.load(f, map_location=torch.device("cpu"), weights_only=True)
        except OSError:
            raise
        except Exception as error:  # a file of another kind can raise almost any error
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            if "weights_only" in reason:  # torch's advice is to turn this protection off
                reason = "it holds more than weights and plain containers"
            raise ValueError(f"'{f}' is not a readable checkpoint: {reason}") from error
        if not isinstance(content, dict):
            raise ValueError(f"'{f}' holds a {type(content).__name__}, expected a dict")
        return content if "model" in content else {"model": content}

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        incompatible = super()._load_model(checkpoint)
        # They come from the config; old checkpoints do not have them.
        for name in ("pixel_mean", "pixel_std"):
            if name in incompatible.missing_keys:
                incompatible.missing_keys.remove(name)
        return incompatible
