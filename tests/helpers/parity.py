"""What the parity tests share: the oracle's files, the weights behind them, and the comparison.

The folder is named by the environment variable `OVAVSS_ORACLE`; `tests/fixtures/oracle` has a copy.
"""

import importlib.util
import os
import re
from pathlib import Path

import numpy as np
import torch
from detectron2.config import get_cfg

from ovavss_d2.config import add_ovavss_config
from ovavss_d2.weights.layouts import to_own_layout
from tests.helpers.paths import FIXTURES

BUNDLED = FIXTURES / "oracle"
ORACLE = Path(os.environ.get("OVAVSS_ORACLE", BUNDLED))
TOLERANCE = 1e-4  # norm of the difference over the norm
SWIN_B = {"TIMM.NAME": "swin_base_patch4_window12_384", "TIMM.OUT_INDICES": [0, 1, 2, 3]}


def oracle_files(pattern, folder=ORACLE):
    """Sorted paths of the oracle's files that match; none is an error, never a skip."""
    files = sorted(Path(folder).glob(pattern))
    if not files:
        raise FileNotFoundError(
            f"no oracle file '{pattern}' in '{folder}'; OVAVSS_ORACLE names the folder"
        )
    return files


def seed_of(path):
    """The weights' seed, which the file name holds: 'ovavss_r50_oracle_seed2.npz' -> 2."""
    return int(re.search(r"seed(\d+)", Path(path).name).group(1))


def load_arrays(path):
    """{name: array} of an oracle file."""
    with np.load(path) as arrays:
        return dict(arrays)


def find_near(path, name):
    """The file `name` in the folder of `path`, or else the bundled one."""
    found = Path(path).parent / name
    return found if found.exists() else BUNDLED / name


def names_file(path):
    """The list of parameters that belongs to a model's oracle file."""
    return find_near(path, re.sub(r"seed\d+\.npz$", "names.json", Path(path).name))


def released_state(path, prefixes=None):
    """{released name: tensor} behind a model's oracle file, all or those with a prefix."""
    spec = importlib.util.spec_from_file_location("oracle_weights", find_near(path, "weights.py"))
    weights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(weights)
    state = weights.state_dict_from(names_file(path), seed_of(path), prefixes)
    return {name: torch.as_tensor(array) for name, array in state.items()}


def fill(module, path, released_prefix, our_prefix):
    """Load the oracle's weights into a part of our model, by the project's own conversion.

    Every parameter must be covered. For example `fill(net, path, 'backbone.', 'backbone.')`.
    """
    state = to_own_layout(released_state(path, [released_prefix]))[0]
    state = {
        name.removeprefix(our_prefix): v for name, v in state.items() if name.startswith(our_prefix)
    }
    missing, unexpected = module.load_state_dict(state, strict=False)
    trained = {name for name, _ in module.named_parameters()}
    assert not trained & set(missing), (
        f"not in the released layout: {sorted(trained & set(missing))}"
    )
    assert not unexpected, f"not in our module: {unexpected}"
    return module.eval()


def oracle_config(path):
    """The configuration of the model behind an oracle file, its sizes read from the arrays."""
    cfg = get_cfg()
    add_ovavss_config(cfg)
    if "swinb" in Path(path).name:
        for key, value in SWIN_B.items():
            cfg.merge_from_list([f"MODEL.{key}", value])
    with np.load(path) as arrays:
        cfg.MODEL.MASK_FORMER.NUM_OBJECT_QUERIES = arrays["pred_logits"].shape[1]
        cfg.MODEL.MASK_FORMER.NUM_AUDIO_TOKENS = len(arrays["frames"])
    cfg.MODEL.AUDIO.PAIRING = "released"
    cfg.MODEL.CLASSIFIER.NAME = "crop"
    cfg.MODEL.CLASSIFIER.TEXT_HEAD = False
    cfg.MODEL.DEVICE = "cpu"
    return cfg


def normalized_frames(cfg, frames, divisor=32):
    """uint8 frames (T, H, W, 3) as the backbone's input: normalized, then zero-padded."""
    mean = torch.tensor(cfg.MODEL.PIXEL_MEAN).view(3, 1, 1)
    std = torch.tensor(cfg.MODEL.PIXEL_STD).view(3, 1, 1)
    x = (torch.as_tensor(frames).permute(0, 3, 1, 2).float() - mean) / std
    height, width = x.shape[-2:]
    return torch.nn.functional.pad(x, (0, -width % divisor, 0, -height % divisor))


def released_waveforms(audio, num_frames, samples=16000):
    """int16 audio as (T, samples) float windows that start every 0.96 s, zeros after its end."""
    hop = 96 * 160
    signal = np.zeros(hop * num_frames + samples, dtype=np.float32)
    length = min(len(audio), len(signal))
    signal[:length] = audio[:length] / np.float32(32768)
    return torch.as_tensor(
        np.stack([signal[i * hop : i * hop + samples] for i in range(num_frames)])
    )


def relative_error(ours, theirs):
    """Norm of the difference over the norm of the reference, in float64."""
    ours = torch.as_tensor(ours).detach().double().cpu()
    theirs = torch.as_tensor(theirs).double()
    assert ours.shape == theirs.shape, f"shape {tuple(ours.shape)}, expected {tuple(theirs.shape)}"
    return ((ours - theirs).norm() / theirs.norm().clamp(min=1e-12)).item()


def assert_parity(stages, arrays, tolerance=TOLERANCE):
    """Every array of `stages` ({oracle's name: tensor}) equals the oracle's; {name: error}."""
    errors = {name: relative_error(ours, arrays[name]) for name, ours in stages.items()}
    wrong = {name: f"{error:.2e}" for name, error in errors.items() if not error <= tolerance}
    assert not wrong, f"relative error above {tolerance}: {wrong}"
    return errors
