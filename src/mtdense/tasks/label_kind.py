"""The label side of a task: what its labels are, how they follow an image, how they are drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import ConfigError

__all__ = ["ArrayAny", "LabelKind", "Placement"]

ArrayAny = npt.NDArray[Any]


class Placement(Protocol):
    """Where an image goes: `source` is resized to `scaled`, the crop cut out, mirrored where `flip`, and padded."""

    @property
    def source(self) -> tuple[int, int]:
        """Height and width of the stored image."""

    @property
    def scaled(self) -> tuple[int, int]:
        """Height and width of the whole image after scaling."""

    @property
    def crop(self) -> tuple[int, int, int, int]:
        """Top, left, height, width on the scaled image."""

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of the result."""

    @property
    def flip(self) -> bool:
        """Mirrored left to right, after the crop and before the padding."""

    @property
    def padding(self) -> tuple[int, int]:
        """Rows above and columns left of the crop on the canvas."""

    def resample_label(self, label: ArrayAny, mirrored: bool = False) -> ArrayAny:
        """The crop of a map (H, W) or (H, W, C), nearest neighbour, its columns in reverse where `mirrored`."""


class LabelKind(ABC):
    """What data sets, label masks, transforms and pictures need to know of a task; networks need a `Task`.

    A label is a NumPy array as the loaders see it: a map over the image's pixels, or something else that its kind
    knows how to read, such as a table of boxes. Keyword arguments of a subclass are its *specification*: plain values,
    stored in checkpoints (see `spec`). Defining a subclass with a `name` of its own registers it; a `Task` may take the
    name of the label side that it completes.
    """

    registered: ClassVar[dict[str, type[Any]]] = {}
    """All kinds of labels and tasks defined so far, by name."""
    trained: ClassVar[bool] = False
    """Whether there is a network side: then the class is a `Task`."""

    name: ClassVar[str]
    """Key of the task in targets, outputs, configuration and file names."""
    label_dtype: ClassVar[type[np.generic]]
    """Data type of a label."""
    stored_as: ClassVar[Literal["classes", "binary", "vectors", "values", "as_is", "boxes"]] = "as_is"
    """How people store such labels in files, which says how `LabelCoding` reads them.

    "classes": class ids, 255 for "ignore". "binary": positive above a threshold. "vectors": unit vectors in camera
    axes, as floats or as a picture. "values": measurements in a scaled unit, such as depth in millimetres. "as_is": in
    the suite's own coding. "boxes": no map; files of each data set's own.
    """
    needs_camera: ClassVar[bool] = False
    """Whether there is no prediction of an image without its camera."""
    meaning_keys: ClassVar[tuple[str, ...]] = ()
    """Keys of `spec` that say what an output means; see `meaning`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            return
        known = cls.registered.get(cls.name)
        completes = known is not None and not known.trained and cls.trained and issubclass(cls, known)
        if known is not None and not completes and (known.__module__, known.__qualname__) != _place(cls):
            raise ConfigError(
                f"{cls.__module__}.{cls.__qualname__} is named {cls.name!r}, as is "
                f"{known.__module__}.{known.__qualname__}",
                "Give each task a name of its own.",
            )
        cls.registered[cls.name] = cls

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, LabelKind) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.spec.items())})"

    # ---- specification -------------------------------------------------------------------------------------------
    @property
    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Plain keyword arguments that rebuild this task: `type(task)(**task.spec)` equals it."""

    @property
    def meaning(self) -> dict[str, Any]:
        """The part of `spec` that says what an output means (classes, unit), not how it is trained or drawn.

        Tasks of equal name and meaning can be compared, and one's weights used for the other.
        """
        spec = self.spec
        return {key: spec[key] for key in self.meaning_keys}

    # ---- labels (NumPy, one image) ---------------------------------------------------------------------------------
    @abstractmethod
    def invalid_label(self, height: int, width: int) -> ArrayAny:
        """The label, at a size, of an image that has none: nothing in it counts."""

    @abstractmethod
    def check_label(self, label: ArrayAny, source: str) -> ArrayAny:
        """Checks shape and values at the door and casts to `label_dtype`.

        Args:
            label: In the suite's coding.
            source: File or other origin, for the error.

        Raises:
            DataError: Wrong shape or a value out of range; names `source` and the value.
        """

    @abstractmethod
    def label_size(self, label: ArrayAny) -> tuple[int, int]:
        """Height and width of the image that a label belongs to."""

    @abstractmethod
    def place_label(self, label: ArrayAny, placement: Placement, zoom: float) -> ArrayAny:
        """A stored label on the canvas to which its image was brought.

        Args:
            label: A checked label of the size `placement.source`.
            placement: Where the image went.
            zoom: By how much objects are to count as nearer (> 1: larger); 1 for a resize that is no augmentation.
        """

    @abstractmethod
    def to_target(self, label: ArrayAny) -> Any:
        """Label to what a network is trained on: a tensor that can be stacked, or a tuple of tensors."""

    def dominant_share(self, label: ArrayAny) -> float | None:
        """Share of the most frequent class among valid pixels; None where a task has no say in the crop.

        1.0 where fewer than two classes are present. The crop of the InvPT line re-draws while this is too high.
        """
        return None

    # ---- pictures ------------------------------------------------------------------------------------------------
    @abstractmethod
    def draw_over(
        self, image: npt.NDArray[np.uint8], values: ArrayAny, like: ArrayAny | None = None
    ) -> npt.NDArray[np.uint8]:
        """Colour picture (H, W, 3) of a label or of a prediction, in its image where it would say little alone.

        Args:
            image: (H, W, 3) the image that it belongs to.
            values: What to draw.
            like: A label or prediction whose colour scale to use, so that two pictures can be compared.
        """


def _place(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__
