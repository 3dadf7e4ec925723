"""`CfgNode`, which is fvcore's config node with versions, and `get_cfg`."""

import copy
import logging
import os
from typing import Any

from detectron2.config.defaults import DEFAULTS
from detectron2.utils.file_io import PathManager
from fvcore.common.config import CfgNode as _FvcoreCfgNode

logger = logging.getLogger(__name__)


class CfgNode(_FvcoreCfgNode):
    """A tree of options that YAML files and `KEY VALUE` lists override.

    Unlike fvcore's node it checks the VERSION of a file. Unlike Detectron2's node it does not
    translate keys of version 1; they raise the error of any unknown key.
    """

    @classmethod
    def _open_cfg(cls, filename: str) -> Any:
        return PathManager.open(filename, "r")

    def merge_from_file(self, cfg_filename: str, allow_unsafe: bool = True) -> None:
        """Merge a YAML file, after the files that its `_BASE_` names, into this config.

        Args:
            cfg_filename: path of the file.
            allow_unsafe: accept YAML tags that create Python objects, as Detectron2 does; only for
                files that you trust.

        Raises:
            AssertionError: the file does not exist, or its VERSION is newer than this config's.
            KeyError, ValueError: a key is unknown, or a value has the wrong type.
        """
        # As in Detectron2, an AssertionError, on which callers may rely.
        if not PathManager.isfile(cfg_filename):
            raise AssertionError(f"Config file '{cfg_filename}' does not exist!")
        loaded = self.load_yaml_with_base(cfg_filename, allow_unsafe=allow_unsafe)
        self._check_version(loaded, os.path.basename(cfg_filename))
        self.merge_from_other_cfg(type(self)(loaded))

    def _check_version(self, loaded: dict, name: str) -> None:
        own = self.get("VERSION")
        if own is None:
            return
        version = loaded.get("VERSION")
        if version is None:
            logger.warning(
                f"Config '{name}' has no VERSION. Assuming it to be compatible with latest v{own}."
            )
        elif version > own:
            raise AssertionError(f"Cannot merge a v{version} config into a v{own} config.")
        elif version < own:
            logger.warning(
                f"Config '{name}' has version {version}: its keys are read as version {own}; "
                "only Detectron2 itself translates old keys."
            )
            loaded["VERSION"] = own

    def dump(self, *args: Any, **kwargs: Any) -> str:
        """Return the config as YAML; arguments are those of `yaml.safe_dump`."""
        return super().dump(*args, **kwargs)


def get_cfg() -> CfgNode:
    """Create a config with Detectron2's defaults."""
    return CfgNode(copy.deepcopy(DEFAULTS))
