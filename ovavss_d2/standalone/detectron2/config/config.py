"""`CfgNode`, fvcore's config node with versions, and `get_cfg`, which holds the defaults."""

import copy
import logging
import os

from detectron2.config.defaults import DEFAULTS
from detectron2.utils.file_io import PathManager
from fvcore.common.config import CfgNode as _FvcoreCfgNode

logger = logging.getLogger(__name__)


class CfgNode(_FvcoreCfgNode):
    """A tree of options, read as attributes, that YAML files and `KEY VALUE` lists override.

    Like fvcore's, except that a file may state the VERSION of its keys. Unlike in Detectron2, keys
    of version 1 are not translated: a file that has them is refused as any unknown key is.
    """

    @classmethod
    def _open_cfg(cls, filename):
        return PathManager.open(filename, "r")

    def merge_from_file(self, cfg_filename: str, allow_unsafe: bool = True) -> None:
        """Merge a YAML file, after the files that its `_BASE_` names, into this config.

        Args:
            cfg_filename: path of the file.
            allow_unsafe: let YAML tags of Python objects through, as Detectron2 does; load only
                files that you trust.

        Raises:
            AssertionError: there is no such file, or its VERSION is newer than this config's.
            KeyError, ValueError: an unknown key, or a value of another type.
        """
        # As in Detectron2, an assertion: callers may rely on its type.
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
                f"Config '{name}' is of version {version}: its keys are read as those of v{own}, "
                "only Detectron2 itself translates old ones."
            )
            loaded["VERSION"] = own

    def dump(self, *args, **kwargs) -> str:
        """The config as YAML; arguments are those of `yaml.safe_dump`."""
        return super().dump(*args, **kwargs)


def get_cfg() -> CfgNode:
    """A new config that holds Detectron2's defaults."""
    return CfgNode(copy.deepcopy(DEFAULTS))
