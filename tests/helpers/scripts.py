"""Import the repository's scripts, which are not part of the package."""

import importlib.util
from pathlib import Path

from tests.helpers.paths import REPOSITORY


def load_script(path):
    """Run a script of the repository as a new module, without its `main`."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, REPOSITORY / path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script
