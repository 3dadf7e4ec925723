"""The model card of an exported model, in the form that model hubs display."""

from typing import Any

import yaml
from detectron2.config import CfgNode

TASK = "audio-visual semantic segmentation"


def model_card(
    name: str, cfg: CfgNode, info: dict[str, Any], results: dict[str, Any], license_name: str
) -> str:
    """Markdown with a YAML header: task, data, figures, license, and how to use the model.

    Args:
        name: of the model.
        cfg: its config.
        info: content of `model.json`.
        results: content of `results.json`; empty: not evaluated.
        license_name: as model hubs name licenses.
    """
    vocabulary = info["vocabulary"]
    return f"""---
{_header(name, results, license_name)}
---
# {name}

Open-vocabulary {TASK}: the model labels in every frame of a video the pixels of the objects that
make the sound.

| | |
| --- | --- |
| backbone | {cfg.MODEL.TIMM.NAME} |
| audio encoder | {cfg.MODEL.AUDIO.ENCODER} |
| CLIP | `{cfg.MODEL.CLIP.ARCHITECTURE}` |
| written by | {info["written_by"]}, format {info["format_version"]} |

## Use

```python
from ovavss_d2 import Segmenter

segmenter = Segmenter.from_pretrained("{name}", vocabulary="dog,violin")
segmenter.write("video.mp4", "output")
```

Without `vocabulary` it recognizes the {len(vocabulary["names"])} names listed below.

## Results

{_results_table(results)}

## Vocabulary

Training vocabulary, {len(vocabulary["base"])} names: {", ".join(vocabulary["base"])}.

{len(vocabulary["novel"])} other names: {", ".join(vocabulary["novel"]) or "none"}.

## License

`{license_name}`. The weights that training started from have licenses of their own, for example
Mask2Former's CC BY-NC 4.0, which also apply to this model.
"""


def _header(name: str, results: dict[str, Any], license_name: str) -> str:
    header: dict[str, Any] = {
        "license": license_name,
        "library_name": "ovavss_d2",
        "pipeline_tag": "image-segmentation",
        "tags": ["audio-visual", "open-vocabulary", "semantic-segmentation", "video"],
    }
    if results:
        header["model-index"] = [_model_index(name, results)]
    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True).strip()


def _model_index(name: str, results: dict[str, Any]) -> dict[str, Any]:
    metrics = [
        {"type": "mean_iou", "name": group, "value": round(value, 2)}
        for group, value in _figures(results).items()
    ]
    data = {"name": results["protocol_name"], "type": results["dataset"]}
    task = {"type": "image-segmentation", "name": TASK}
    return {"name": name, "results": [{"task": task, "dataset": data, "metrics": metrics}]}


def _figures(results: dict[str, Any]) -> dict[str, float]:
    """The figures of the data set's own protocol by name, in percent."""
    figures = {"mIoU": "mIoU, all classes"} | {
        group: f"mIoU, {group}" for group in ("base", "novel", "harmonic")
    }
    known = results.get("avsbench_ov", {})
    return {name: known[key] for key, name in figures.items() if known.get(key) is not None}


def _results_table(results: dict[str, Any]) -> str:
    if not results:
        return "Not evaluated."
    rows = [f"| {group} | {value:.2f} |" for group, value in _figures(results).items()]
    title = f"{results['protocol_name']}, {results['videos']} videos, {results['frames']} frames:"
    return "\n".join([title, "", "| in % | |", "| --- | ---: |", *rows])
