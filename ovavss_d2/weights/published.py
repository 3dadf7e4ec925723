"""The published weight files that the weight keys accept by name.

`MODEL.WEIGHTS` and `MODEL.AUDIO.WEIGHTS` accept the names of `PUBLISHED`, and `MODEL.CLIP.WEIGHTS`
the pretrained tags of open_clip (`weights/sources.py`).
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Published:
    """A weight file published by others."""

    address: str
    origin: str  # where it is described
    megabytes: int  # about
    license: str
    layout: str  # key of `layouts.LAYOUTS`
    # the sums that the publisher states ("sha256", "md5"), or their first digits
    sums: dict[str, str] = field(default_factory=dict)

    @property
    def file(self) -> str:
        return self.address.rsplit("/", 1)[-1]


_ZOO = "Mask2Former's model zoo (github.com/facebookresearch/Mask2Former/blob/main/MODEL_ZOO.md)"
_FOLDER = "https://dl.fbaipublicfiles.com/maskformer/mask2former/coco"


def _mask2former(task: str, folder: str, backbone: str, md5: str, megabytes: int) -> Published:
    return Published(
        address=f"{_FOLDER}/{task}/{folder}/model_final_{md5}.pkl",
        origin=f"{_ZOO}, COCO {task} segmentation, {backbone}",
        megabytes=megabytes,
        license="CC BY-NC 4.0",
        layout="COCO",
        sums={"md5": md5},
    )


PUBLISHED = {
    "mask2former_R50": _mask2former("instance", "maskformer2_R50_bs16_50ep", "R50", "3c8ec9", 176),
    "mask2former_swin_tiny": _mask2former(
        "instance", "maskformer2_swin_tiny_bs16_50ep", "Swin-T", "86143f", 190
    ),
    "mask2former_swin_small": _mask2former(
        "instance", "maskformer2_swin_small_bs16_50ep", "Swin-S", "1e7f22", 275
    ),
    "mask2former_swin_base": _mask2former(
        "instance", "maskformer2_swin_base_IN21k_384_bs16_50ep", "Swin-B", "83d103", 428
    ),
    "vggish": Published(
        address="https://github.com/harritaylor/torchvggish/releases/download/v0.1/"
        "vggish-10086976.pth",
        origin="torchvggish's releases (github.com/harritaylor/torchvggish/releases/tag/v0.1)",
        megabytes=289,
        license="Apache-2.0",
        layout="AUDIO",
        sums={"sha256": "10086976"},
    ),
}


def _openai_clip(file: str, sha256: str, model: str, megabytes: int) -> Published:
    return Published(
        address=f"https://openaipublic.azureedge.net/clip/models/{sha256}/{file}",
        origin=f"OpenAI's CLIP (github.com/openai/CLIP), {model}",
        megabytes=megabytes,
        license="MIT",
        layout="CLIP",
        sums={"sha256": sha256},
    )


# Files that users have; `MODEL.CLIP.WEIGHTS openai` gets the same weights from the hub.
OPENAI_CLIP = (
    _openai_clip(
        "ViT-B-16.pt",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
        "ViT-B/16",
        351,
    ),
    _openai_clip(
        "ViT-L-14-336px.pt",
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        "ViT-L/14@336px",
        934,
    ),
)


# Models of the hub with several files.
HUB_MODELS = {
    "laion/clap-htsat-unfused": "about 615 MB, license Apache-2.0",
    "laion/larger_clap_general": "about 776 MB, license Apache-2.0",
}


def by_file_name(file: str) -> Published | None:
    """The published weights with this file name."""
    known = (*PUBLISHED.values(), *OPENAI_CLIP)
    return next((published for published in known if published.file == file), None)
