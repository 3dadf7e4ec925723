"""Augmentations: policies, often random, that choose a transform for an input."""

import inspect
import pprint
from typing import Any

import numpy as np
from fvcore.transforms.transform import Transform, TransformList

__all__ = ["AugInput", "Augmentation", "AugmentationList"]


class Augmentation:
    """Chooses a transform, given an image and other data.

    A subclass defines `get_transform(self, image, ...)`; the names of its arguments are the
    attributes of the `AugInput` that it needs: "image", "boxes", "sem_seg", or others of a custom
    input class. With `get_transform(self, *args)` the names are those in the attribute
    `input_args`, by default only "image". Calling the augmentation chooses the transform, applies
    it to the input in place, and returns it.
    """

    input_args: tuple[str, ...] | None = None

    def _init(self, params: dict | None = None) -> None:
        """Store a constructor's arguments as attributes; call it with `locals()`."""
        for name, value in (params or {}).items():
            if name != "self" and not name.startswith("_"):
                setattr(self, name, value)

    def get_transform(self, *args: Any) -> Transform:
        """Choose the transform for the data in `args`."""
        raise NotImplementedError

    def __call__(self, aug_input: "AugInput") -> Transform:
        """Choose the transform, apply it to `aug_input` in place and return it."""
        values = [self._read(aug_input, name) for name in self._input_names()]
        transform = self.get_transform(*values)
        if not isinstance(transform, Transform):
            raise AssertionError(
                f"{type(self)}.get_transform must return an instance of Transform! "
                f"Got {type(transform)} instead."
            )
        aug_input.transform(transform)
        return transform

    def _input_names(self) -> tuple[str, ...]:
        if self.input_args is not None:
            return self.input_args
        parameters = inspect.signature(self.get_transform).parameters.values()
        if all(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
            return ("image",)
        return tuple(parameter.name for parameter in parameters)

    def _read(self, aug_input: "AugInput", name: str) -> Any:
        try:
            return getattr(aug_input, name)
        except AttributeError as error:
            raise AttributeError(
                f"{type(self)}.get_transform needs input attribute '{name}', "
                f"but it is not an attribute of {type(aug_input)}!"
            ) from error

    def _rand_range(
        self, low: float = 1.0, high: float | None = None, size: Any = None
    ) -> np.ndarray:
        """Draw uniform numbers in [low, high), or in [0, low) if `high` is not given."""
        if high is None:
            low, high = 0, low
        return np.random.uniform(low, high, [] if size is None else size)

    def __repr__(self) -> str:
        """The class name with the constructor arguments that differ from their defaults."""
        shown = []
        for name, parameter in inspect.signature(type(self).__init__).parameters.items():
            if name == "self":
                continue
            if not hasattr(self, name) or parameter.kind is parameter.VAR_POSITIONAL:
                return object.__repr__(self)
            value = getattr(self, name)
            if value is not parameter.default:
                text = pprint.pformat(value)
                shown.append(f"{name}={'...' if len(text.splitlines()) > 1 else text}")
        return f"{type(self).__name__}({', '.join(shown)})"

    __str__ = __repr__


def _as_augmentation(candidate: Augmentation | Transform) -> Augmentation:
    if isinstance(candidate, Augmentation):
        return candidate
    if isinstance(candidate, Transform):
        return _Fixed(candidate)
    raise AssertionError(f"expected an Augmentation or a Transform, got {candidate!r}")


class _Fixed(Augmentation):
    """Always the same transform."""

    input_args = ()

    def __init__(self, transform: Transform):
        self.transform = transform

    def get_transform(self, *args: Any) -> Transform:
        return self.transform

    def __repr__(self) -> str:
        return repr(self.transform)

    __str__ = __repr__


class AugmentationList(Augmentation):
    """Applies augmentations and transforms one after another."""

    def __init__(self, augs: list[Augmentation | Transform]):
        super().__init__()
        self.augs = [_as_augmentation(aug) for aug in augs]

    def __call__(self, aug_input: "AugInput") -> TransformList:
        """Apply all of them to `aug_input` in place and return their transforms as one."""
        return TransformList([aug(aug_input) for aug in self.augs])

    def __repr__(self) -> str:
        return f"AugmentationList[{', '.join(str(aug) for aug in self.augs)}]"

    __str__ = __repr__


class AugInput:
    """The input of augmentations, which change it in place: an image, boxes and labels."""

    def __init__(
        self,
        image: np.ndarray,
        *,
        boxes: np.ndarray | None = None,
        sem_seg: np.ndarray | None = None,
    ):
        """
        Args:
            image: (H, W) or (H, W, C), uint8 in 0..255 or float in 0..1 or 0..255.
            boxes: (N, 4) float32 boxes x0 y0 x1 y1 in pixels.
            sem_seg: (H, W) uint8 label of each pixel.
        """
        _check_image(image)
        self.image = image
        self.boxes = boxes
        self.sem_seg = sem_seg

    def transform(self, tfm: Transform) -> None:
        """Apply a transform to all attributes."""
        self.image = tfm.apply_image(self.image)
        if self.boxes is not None:
            self.boxes = tfm.apply_box(self.boxes)
        if self.sem_seg is not None:
            self.sem_seg = tfm.apply_segmentation(self.sem_seg)

    def apply_augmentations(self, augmentations: list[Augmentation | Transform]) -> TransformList:
        """`AugmentationList(augmentations)(self)`."""
        return AugmentationList(augmentations)(self)


def _check_image(image: Any) -> None:
    if not isinstance(image, np.ndarray):
        raise AssertionError(f"[Augmentation] Needs an numpy array, but got a {type(image)}!")
    if image.ndim not in (2, 3):
        raise AssertionError(f"expected an image of 2 or 3 dimensions, got {image.ndim}")
