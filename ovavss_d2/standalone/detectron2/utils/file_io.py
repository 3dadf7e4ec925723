"""`PathManager`: opens local paths, URLs and `detectron2://` paths (iopath)."""

from typing import Any

from iopath.common.file_io import HTTPURLHandler, OneDrivePathHandler, PathHandler
from iopath.common.file_io import PathManager as PathManagerBase

__all__ = ["PathManager", "PathHandler"]

DETECTRON2_PREFIX = "detectron2://"
DETECTRON2_ADDRESS = "https://dl.fbaipublicfiles.com/detectron2/"


class Detectron2Handler(PathHandler):
    """Opens `detectron2://PATH`, the address of Detectron2's published models."""

    def _get_supported_prefixes(self) -> list[str]:
        return [DETECTRON2_PREFIX]

    def _get_local_path(self, path: str, **kwargs: Any) -> str:
        name = path[len(DETECTRON2_PREFIX) :]
        return PathManager.get_local_path(DETECTRON2_ADDRESS + name, **kwargs)

    def _open(self, path: str, mode: str = "r", **kwargs: Any) -> Any:
        return PathManager.open(self._get_local_path(path), mode, **kwargs)


PathManager = PathManagerBase()
PathManager.register_handler(HTTPURLHandler())
PathManager.register_handler(OneDrivePathHandler())
PathManager.register_handler(Detectron2Handler())
