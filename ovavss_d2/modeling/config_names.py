"""The names that a config gives a model: to segment, to train on, and of its training data."""

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.data.catalog import Metadata

from ovavss_d2.config import first_data_set
from ovavss_d2.vocabulary import unique_names


def vocabulary_of(cfg: CfgNode) -> tuple[str, ...]:
    """Names to segment: the config's, or those of the first test set, or of the training set."""
    if cfg.MODEL.CLASSIFIER.VOCABULARY:
        return unique_names(cfg.MODEL.CLASSIFIER.VOCABULARY, "MODEL.CLASSIFIER.VOCABULARY")
    return tuple(_metadata_of(cfg, "TEST" if cfg.DATASETS.TEST else "TRAIN").names)


def training_vocabulary_of(cfg: CfgNode) -> tuple[str, ...]:
    """Names to train on: the config's, or the base names of the first training set."""
    if cfg.MODEL.CLASSIFIER.TRAINING_VOCABULARY:
        key = "MODEL.CLASSIFIER.TRAINING_VOCABULARY"
        return unique_names(cfg.MODEL.CLASSIFIER.TRAINING_VOCABULARY, key)
    metadata = _metadata_of(cfg, "TRAIN")
    return tuple(metadata.names[i - 1] for i in metadata.base_ids)


def training_classes_of(cfg: CfgNode) -> tuple[str, ...]:
    """Classes of the first training set; a model that is only used needs none."""
    if not cfg.DATASETS.TRAIN:
        return training_vocabulary_of(cfg)
    return tuple(_metadata_of(cfg, "TRAIN").names)


def _metadata_of(cfg: CfgNode, part: str) -> Metadata:
    """Metadata of the first data set in `DATASETS.TRAIN` or `DATASETS.TEST`.

    Raises:
        ValueError: there is none, or it is registered without names.
    """
    name = first_data_set(cfg, part)
    metadata = MetadataCatalog.get(name)
    if not hasattr(metadata, "names"):
        raise ValueError(f"DATASETS.{part} has '{name}', which is registered without names")
    return metadata
