import os
import random

import detectron2
import numpy as np
import pytest
import torch
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.colormap import colormap, random_color, random_colors
from detectron2.utils.env import seed_all_rng
from detectron2.utils.file_io import PathHandler, PathManager
from detectron2.utils.registry import Registry


def test_a_registry_finds_what_was_registered():
    registry = Registry("THINGS")

    @registry.register()
    class Thing:
        pass

    registry.register(len)
    assert registry.get("Thing") is Thing and registry.get("len") is len
    assert "Thing" in registry
    with pytest.raises(KeyError, match="Nothing.*THINGS"):
        registry.get("Nothing")
    with pytest.raises(AssertionError, match="Thing"):
        registry.register(Thing)


def test_the_path_manager_opens_local_files_and_uses_handlers(tmp_path):
    class Upper(PathHandler):
        def _get_supported_prefixes(self):
            return ["upper://"]

        def _get_local_path(self, path, **kwargs):
            return str(tmp_path / path.removeprefix("upper://").upper())

    PathManager.register_handler(Upper(), allow_override=True)
    path = PathManager.get_local_path("upper://name.txt")
    with PathManager.open(path, "w") as file:
        file.write("content")
    assert (tmp_path / "NAME.TXT").read_text() == "content"
    assert PathManager.exists(path) and PathManager.ls(str(tmp_path)) == ["NAME.TXT"]


def test_one_seed_determines_all_random_numbers():
    def draw() -> tuple[float, float, float]:
        return random.random(), np.random.rand(), torch.rand(1).item()

    seed_all_rng(7)
    first = draw()
    seed_all_rng(7)
    assert draw() == first
    assert os.environ["PYTHONHASHSEED"] == "7"
    seed_all_rng()
    assert draw() != first


def test_the_palette_equals_detectron2():
    colors = colormap(rgb=True, maximum=1)
    assert colors.shape == (74, 3) and colors.dtype == np.float32
    assert (colors.min(), colors.max()) == (0, 1)
    np.testing.assert_allclose(colors[0], [0, 0.447, 0.741])
    np.testing.assert_allclose(colors[[9, 24, 53, 70], 0], [1, 0, 0.333, 0])
    np.testing.assert_allclose(colors.sum(axis=0), [34.324, 32.796, 32.725], rtol=1e-5)
    np.testing.assert_allclose(colormap(), 255 * colors[:, ::-1])


def test_random_colors_come_from_the_palette():
    palette = colormap(rgb=True, maximum=1).tolist()
    assert random_color(rgb=True, maximum=1).tolist() in palette
    assert all(color.tolist() in palette for color in random_colors(9, rgb=True, maximum=1))


def test_the_environment_table_contains_versions():
    table = collect_env_info()
    for text in ("sys.platform", torch.__version__, np.__version__, detectron2.__version__):
        assert text in table
