"""PASCAL-Context with five tasks, as ASTMT, ATRC, InvPT, DiffusionMTL and BridgeNet use it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from data_modules.held_out import HeldOutDataModule
from mtdense.core.errors import ConfigError
from mtdense.data import DatasetSubset, DenseDataset
from mtdense.data.label_coding import parse_axes
from mtdense.data.location import open_root
from mtdense.data.packed import open_dataset
from mtdense.data.pascal.context import PASCALContextDataset, check_edge_options
from mtdense.data.pascal.facts import NORMALS_AXES, PASCAL_NAME, PASCAL_TASKS, pascal_specs

__all__ = ["PASCALContextDataModule"]


class PASCALContextDataModule(HeldOutDataModule):
    """PASCAL_MT or PASCALContext: semseg, human parts, saliency, normals and edges; 4998 training and 5105 test images.

    What the lists call val is the test set of all papers.

    Args:
        root: Folder with `JPEGImages/` and `ImageSets/`, or a pack of it.
        num_human_parts: Parts that those of PASCAL-Part are merged to: 6 in all papers; 1, 4 or 14.
        normals_axes: Camera axis (x right, y down, z forward) of each stored channel of normals.
        edge_images: Test images on which edges are scored: "all", or the 2498 of SEISM's list, "test_new", on which
            most papers score them.
        edge_list: That list; null: ImageSets/Context/test_new.txt. It is no part of the archives.
        train_edges: Edges to train on, "laplacian" as all public code does, or "seism".
        eval_edges: Edges to validate and test on: "seism", which published scores are taken on, or "laplacian".
        **kwargs: Options of data modules that hold out images for validation, and of all data modules.

    Raises:
        ConfigError: Options that make no sense.
    """

    name: str = PASCAL_NAME
    mask_columns: ClassVar[tuple[str, ...]] = PASCAL_TASKS

    def __init__(
        self,
        root: str,
        num_human_parts: int = 6,
        normals_axes: str = NORMALS_AXES,
        edge_images: Literal["all", "test_new"] = "all",
        edge_list: str | None = None,
        train_edges: Literal["laplacian", "seism"] = "laplacian",
        eval_edges: Literal["laplacian", "seism"] = "seism",
        **kwargs: Any,
    ) -> None:
        parse_axes(normals_axes)
        check_edge_options(edge_images, edge_list, train_edges, eval_edges)
        self.root = open_root(root)
        self.num_human_parts = num_human_parts
        self.edge_images = edge_images
        self.train_edges = train_edges
        self.eval_edges = eval_edges
        self.reading: dict[str, Any] = {
            "num_human_parts": num_human_parts,
            "normals_axes": normals_axes,
            "edge_images": edge_images,
            "edge_list": edge_list,
            "train_edges": train_edges,
            "eval_edges": eval_edges,
        }
        super().__init__(**kwargs)

    def dataset_specs(self) -> dict[str, dict[str, Any]]:
        """Classes, human parts, saliency, normals and edges."""
        return pascal_specs(self.num_human_parts)

    def open_published(self, split: Literal["train", "test"]) -> DenseDataset:
        """The images that are published for "train" or for "test"."""
        tasks = self.published_tasks(split)
        return open_dataset(PASCALContextDataset, self.root, split, name=self.name, tasks=tasks, reading=self.reading)

    def make_dataset(self, split: str) -> DenseDataset:
        """The images of a split; those held out have the edges of the test.

        Raises:
            ConfigError: A raw pack, which has no others than training edges of images that are held out.
        """
        data = super().make_dataset(split)
        if split != "val" or "edges" not in self.tasks or self.train_edges == self.eval_edges:
            return data
        train = self.published_train()
        if not isinstance(train, PASCALContextDataset):
            raise ConfigError(
                f"the raw pack {self.root} has no {self.eval_edges!r} edges of the training images held out",
                "Use a source pack, set `val_fraction: 0`, or prepare it with equal `train_edges` and `eval_edges`.",
            )
        return DatasetSubset(train.with_edges(self.eval_edges), data.ids)

    @property
    def description(self) -> dict[str, Any]:
        """What the data are; with the images and kinds of edges, on which scores depend."""
        edges = {"train_edges": self.train_edges, "eval_edges": self.eval_edges, "edge_images": self.edge_images}
        return {**super().description, **(edges if "edges" in self.tasks else {})}
