"""The meta-architecture: frames and sound in, label maps out.

Shape letters: see `modeling/__init__.py`.
"""

import logging
import math

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone, build_sem_seg_head
from detectron2.structures import ImageList
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor, nn
from torch.nn import functional as F

from ovavss_d2.modeling.audio_classifier import AudioClassifier, build_audio_classifier
from ovavss_d2.modeling.audio_encoder import AudioEncoder, build_audio_encoder
from ovavss_d2.modeling.config_names import (
    training_classes_of,
    training_vocabulary_of,
    vocabulary_of,
)
from ovavss_d2.modeling.criterion import BatchCounts, SetCriterion
from ovavss_d2.modeling.mask_decoder import object_probability
from ovavss_d2.modeling.ops.accelerate import accelerate
from ovavss_d2.modeling.postprocess import PostProcessor
from ovavss_d2.modeling.silent_localizer import SilentLocalizer
from ovavss_d2.modeling.text_classifier import (
    OpenVocabularyClassifier,
    TextEmbeddingHead,
    class_vocabulary,
)
from ovavss_d2.modeling.windows import split_windows
from ovavss_d2.vocabulary import name_key, synonyms_of

logger = logging.getLogger(__name__)


@META_ARCH_REGISTRY.register()
class OVAVSS(nn.Module):
    """Localizes sounding objects without names, then names them (arXiv 2407.21721)."""

    training_index: Tensor  # index of each training class in the training vocabulary, or -1
    pixel_mean: Tensor  # (3, 1, 1)
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        audio_encoder: AudioEncoder,
        sem_seg_head: nn.Module,
        criterion: SetCriterion,
        classifier: OpenVocabularyClassifier,
        postprocessor: PostProcessor,
        vocabulary: tuple[str, ...],
        training_vocabulary: tuple[str, ...],
        training_classes: tuple[str, ...],
        pixel_mean: tuple[float, float, float],
        pixel_std: tuple[float, float, float],
        size_divisibility: int,
        window: int,
        audio_classifier: AudioClassifier | None = None,
        silent_localizer: SilentLocalizer | None = None,
        mixed_on_cpu: bool = False,
    ):
        """
        Args:
            backbone: frames (N, 3, H, W) to feature maps.
            audio_encoder: audio (N, S) to embeddings (N, A).
            sem_seg_head: feature maps and embeddings to queries, objectness and masks.
            criterion: outputs and targets to losses.
            classifier: names the masks.
            postprocessor: scored pairs to label maps.
            vocabulary: names to segment; `set_vocabulary` changes them.
            training_vocabulary: names that the text head is trained on.
            training_classes: names of the training data's classes, in the order of `gt_classes`.
            pixel_mean, pixel_std: of RGB in 0..255.
            size_divisibility: frames are padded to a multiple of it.
            window: frames that are processed together at test time.
            audio_classifier: says which names are heard in each frame; None: all may be.
            silent_localizer: finds the objects whose names are not in the training vocabulary, if
                there is an audio classifier; None: `sem_seg_head` finds all.
            mixed_on_cpu: compute training losses under bfloat16 autocast on a CPU. (On a GPU the
                trainer does that.)
        """
        super().__init__()
        self.backbone = backbone
        self.audio_encoder = audio_encoder
        self.sem_seg_head = sem_seg_head
        self.criterion = criterion
        self.classifier = classifier
        self.audio_classifier = audio_classifier
        self.silent_localizer = silent_localizer
        self.postprocessor = postprocessor
        self.set_vocabulary(vocabulary)
        self.training_vocabulary = tuple(training_vocabulary)
        self.size_divisibility = size_divisibility
        self.window = window
        self.mixed_on_cpu = mixed_on_cpu
        indices = {name_key(name): i for i, name in enumerate(self.training_vocabulary)}
        training_index = torch.tensor([indices.get(name_key(c), -1) for c in training_classes])
        self.register_buffer("training_index", training_index, persistent=False)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, object]:
        backbone = build_backbone(cfg)
        if cfg.MODEL.COMPILE:
            backbone.compile(dynamic=True)  # clips come in several sizes
        classifier = OpenVocabularyClassifier(cfg)
        audio_classifier = build_audio_classifier(cfg, classifier.clip)
        modules: dict[str, nn.Module] = {
            "backbone": backbone,
            "audio_encoder": build_audio_encoder(cfg),
            "sem_seg_head": build_sem_seg_head(cfg, backbone.output_shape()),
            "criterion": SetCriterion(cfg),
            "classifier": classifier,
        }
        if cfg.MODEL.SILENT_LOCALIZER.ENABLED:
            modules["silent_localizer"] = SilentLocalizer(cfg)
        if cfg.MODEL.ACCELERATE:
            accelerate(nn.ModuleDict(modules))
        return {
            **modules,
            "audio_classifier": audio_classifier,
            "postprocessor": PostProcessor(cfg),
            "vocabulary": vocabulary_of(cfg),
            "training_vocabulary": training_vocabulary_of(cfg),
            "training_classes": training_classes_of(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "size_divisibility": backbone.size_divisibility,
            "window": cfg.INPUT.SAMPLING_FRAME_NUM,
            "mixed_on_cpu": cfg.SOLVER.AMP.ENABLED and cfg.MODEL.DEVICE == "cpu",
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def set_vocabulary(self, names: tuple[str, ...]) -> None:
        """Segment objects with these names from now on.

        Raises:
            ValueError: there are no names, or one is too long for CLIP.
        """
        if not names:
            raise ValueError("the vocabulary is empty; give at least one name")
        self.classifier.clip.check_names([word for name in names for word in synonyms_of(name)])
        self.vocabulary = tuple(names)

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """
        Args:
            batched_inputs: clips from `AVSClipMapper`; in training all of one length.

        Returns:
            In training a dict of weighted losses; else one dict per clip, with `label_map` (T, H,
            W) int32 at the clip's `height` and `width` (0: background, k: the k-th of `names`),
            `names`, and `segments`: the painted pairs of each window, best first, as returned by
            `PostProcessor`, with `window`: (first, last + 1) index of their frames. With an audio
            classifier also `heard` (T, K), the probability that each name is heard.
        """
        if self.training:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.mixed_on_cpu):
                return self._losses(batched_inputs)
        return [self._segment_video(video) for video in batched_inputs]

    def _losses(self, clips: list[dict]) -> dict[str, Tensor]:
        frames = self._normalize(clips)
        outputs = self._localize(frames, clips)
        text_head = self.classifier.text_head
        if text_head is not None:
            self._add_name_logits(text_head, outputs)
        step = get_event_storage().iter if has_event_storage() else 0
        losses = self.criterion(
            outputs,
            [self._targets(clip, frames.tensor.shape[-2:]) for clip in clips],
            step=step,
            clip_seeds=[clip["clip_seed"] for clip in clips],
            counts=clips[0].get("batch_counts"),
        )
        weights = self.criterion.weight_dict
        return {name: loss * weights[name] for name, loss in losses.items() if name in weights}

    def count_targets(self, clips: list[dict]) -> BatchCounts:
        """Count what the losses of a batch are divided by; see `AccumulatingTrainer`."""
        visible = [_visible(clip) for clip in clips]
        classes = [
            clip["instances"][0].gt_classes[seen] for clip, seen in zip(clips, visible, strict=True)
        ]
        named = (self.training_index.cpu()[torch.cat(classes)] >= 0).sum()
        return BatchCounts(len(clips), sum(map(len, classes)), int(named))

    def _normalize(self, clips: list[dict]) -> ImageList:
        """Frames, normalized and padded with zeros to one size: tensor (B, T, 3, H, W)."""
        frames = [clip["image"].to(self.device) for clip in clips]
        frames = [(frame - self.pixel_mean) / self.pixel_std for frame in frames]
        return ImageList.from_tensors(frames, self.size_divisibility)

    def _localize(self, frames: ImageList, clips: list[dict]) -> dict:
        """Masks and objectness of the queries, without names."""
        features = self.backbone(frames.tensor.flatten(0, 1))
        waveforms = torch.cat([clip["audio"] for clip in clips])  # the encoder moves them
        valid = torch.cat([clip["audio_valid"] for clip in clips])
        audio = self.audio_encoder(waveforms, valid)
        return self.sem_seg_head(features, audio, num_clips=len(clips))

    def _add_name_logits(self, text_head: TextEmbeddingHead, outputs: dict) -> None:
        vocabulary = class_vocabulary(self.training_vocabulary, (), ())
        text = self.classifier.clip.encode_text(vocabulary.words)
        for prediction in (outputs, *outputs["aux_outputs"]):
            logits = text_head(prediction["pred_queries"], text)
            prediction["pred_names"] = vocabulary.class_logits(logits)

    def _targets(self, clip: dict, padded_size: tuple[int, int]) -> dict[str, Tensor]:
        """Objects visible in a labeled frame.

        Returns:
            "labels" (G,), indices in the training vocabulary or -1; "masks" (G, T, H, W) of
            padded size; "labeled" bool (T,).
        """
        labeled = clip["labeled"]
        masks = torch.stack([frame.gt_masks.tensor for frame in clip["instances"]], dim=1)
        # Computed on the CPU and copied asynchronously: a GPU is busy with the forward pass.
        visible = _visible(clip)
        classes = clip["instances"][0].gt_classes[visible].to(self.device, non_blocking=True)
        height, width = masks.shape[-2:]
        padding = (0, padded_size[1] - width, 0, padded_size[0] - height)
        return {
            "labels": self.training_index[classes],
            "masks": F.pad(masks[visible].to(self.device, non_blocking=True), padding),
            "labeled": labeled,
        }

    @torch.no_grad()
    def _segment_video(self, video: dict) -> dict:
        """Segment a video window by window, and join the results."""
        maps, segments = [], []
        heard = {} if self.audio_classifier is None else {"heard": self._heard_names(video)}
        video = {**video, **heard}
        for new, indices in split_windows(range(len(video["image"])), self.window):
            label_map, painted = self._segment_window(_clip_of(video, indices))
            maps.append(label_map[-new:])
            frames = (indices[-new], indices[-1] + 1)
            for segment in painted:
                masks = segment["masks"][-new:]
                if masks.any():
                    segments.append({**segment, "window": frames, "masks": masks})
        return {
            "label_map": torch.cat(maps),
            "names": self.vocabulary,
            "segments": segments,
            **heard,
        }

    def _heard_names(self, video: dict) -> Tensor:
        """Probability (T, K) that each name is heard, 0 in silent frames."""
        assert self.audio_classifier is not None
        heard = torch.zeros(len(video["audio"]), len(self.vocabulary), device=self.device)
        has_sound = self.postprocessor.has_sound(video["audio"])
        context = video["audio_context"][has_sound]
        heard[has_sound] = self.audio_classifier.name_probabilities(context, self.vocabulary)
        return heard

    def _segment_window(self, clip: dict) -> tuple[Tensor, list[dict]]:
        """Label map (T, H, W) and painted pairs of one window."""
        size = (clip["height"], clip["width"])
        audio = clip["audio"].to(self.device)
        has_sound = self.postprocessor.has_sound(audio)
        trained, factors = self._is_trained(), None
        if self.audio_classifier is not None:
            factors = self.postprocessor.sound_factors(clip["heard"], trained)
        if self.silent_localizer is None:
            found = self._find_objects(clip, has_sound, factors)
        else:
            assert factors is not None  # see `from_config`
            found = self._find_objects(clip, has_sound, factors, trained)
            found += self._find_silently(clip, has_sound, factors, ~trained)
        if not found:
            return torch.zeros(len(audio), *size, dtype=torch.int32, device=self.device), []
        objectness, names, masks = (torch.cat(parts) for parts in zip(*found, strict=True))
        return self.postprocessor(
            objectness=objectness,
            name_probabilities=names,
            mask_logits=masks,
            audio=audio,
            size=size,
            names=self.vocabulary,
            factors=factors,
        )

    def _find_objects(
        self,
        clip: dict,
        has_sound: Tensor,
        factors: Tensor | None,
        allowed: Tensor | None = None,
        silent_localizer: SilentLocalizer | None = None,
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Find the objects of a window that can be painted.

        What cannot be painted is removed early, which changes no result: windows that are silent or
        in which no name is heard, queries with a low object probability, masks without a pixel in a
        frame with sound.

        Args:
            clip: the window.
            has_sound: of each frame, bool (T,).
            factors: of the scores (T, K), if there is an audio classifier.
            allowed: names that they can have, bool (K,); None: all.
            silent_localizer: finds them instead of the localizer.

        Returns:
            Objectness (Q,), name probabilities (Q, K), mask logits (Q, T, h, w); or nothing.
        """
        if factors is not None and allowed is not None:
            factors = factors * allowed
        paintable = has_sound
        if factors is not None:
            paintable = self.postprocessor.can_paint(factors) & has_sound
        if not paintable.any():
            return []
        frames = self._normalize([clip])
        if silent_localizer is None:
            outputs = self._localize(frames, [clip])
        else:
            outputs = silent_localizer(frames.tensor[0])
        objectness = object_probability(outputs["pred_logits"][0])
        queries = self.postprocessor.select_by_objectness(objectness).nonzero()[:, 0]
        height, width = frames.image_sizes[0]
        masks = F.interpolate(
            outputs["pred_masks"][0, queries],
            size=frames.tensor.shape[-2:],
            mode="bilinear",
            align_corners=False,
        )
        if factors is not None:
            paintable = self.postprocessor.can_paint(factors, objectness[queries]) & has_sound
        visible = self.postprocessor.select_by_mask(masks[..., :height, :width], paintable)
        queries, masks = queries[visible], masks[visible]
        names = self.classifier.name_probabilities(
            queries=None if silent_localizer else outputs["pred_queries"][0, queries],
            mask_logits=masks,
            frames=clip["image"].to(self.device),
            names=self.vocabulary,
            training_names=self.training_vocabulary,
        )
        if allowed is not None:
            names = names * allowed
        return [(objectness[queries], names, masks[..., :height, :width])]

    def _find_silently(
        self, clip: dict, has_sound: Tensor, factors: Tensor, allowed: Tensor
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """`_find_objects` of each frame by itself; a mask is empty in the other frames."""
        found = []
        for t in range(len(factors)):
            frame, now = _clip_of(clip, [t]), slice(t, t + 1)
            after = len(factors) - t - 1
            for objectness, names, masks in self._find_objects(
                frame, has_sound[now], factors[now], allowed, self.silent_localizer
            ):
                masks = F.pad(masks, (0, 0, 0, 0, t, after), value=-math.inf)
                found.append((objectness, names, masks))
        return found

    def _is_trained(self) -> Tensor:
        """Which names of the vocabulary are in the training vocabulary: bool (K,)."""
        known = class_vocabulary(self.vocabulary, (), self.training_vocabulary).trained
        return torch.tensor(known, device=self.device)


def _visible(clip: dict) -> Tensor:
    """Which objects of a training clip are visible in a labeled frame: bool (objects,)."""
    masks = torch.stack([frame.gt_masks.tensor for frame in clip["instances"]], dim=1)
    return masks[:, clip["labeled"]].flatten(1).any(dim=1)


def _clip_of(video: dict, indices: list[int]) -> dict:
    """The frames of a mapped video with these consecutive indices."""
    frames = slice(indices[0], indices[-1] + 1)
    keys = ("image", "audio", "audio_valid", "heard")
    return video | {key: video[key][frames] for key in keys if key in video}
