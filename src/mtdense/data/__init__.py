"""Data: data sets (files or renderer to sample), label masks, and the joint transform."""

from __future__ import annotations

from mtdense.data.dataset import (
    DatasetSubset,
    DenseDataset,
    PartialLabelDataset,
    collate,
    draw_label_mask,
    full_label_mask,
    has_content,
    label_table,
    require_labels,
)
from mtdense.data.folder import FolderDataset, FolderIndex
from mtdense.data.label_coding import LabelCoding
from mtdense.data.label_masks import LABEL_SETTINGS, LabelMask
from mtdense.data.mask_files import describe_label_mask, read_label_mask, write_label_mask
from mtdense.data.photometric import Photometric
from mtdense.data.sample import Batch, BatchMeta, RawImage, Sample, SampleKey, SampleMeta
from mtdense.data.splits import SPLITS, SplitRule
from mtdense.data.transform import JointTransform, choose_crop

__all__ = [
    "LABEL_SETTINGS",
    "SPLITS",
    "Batch",
    "BatchMeta",
    "DatasetSubset",
    "DenseDataset",
    "FolderDataset",
    "FolderIndex",
    "JointTransform",
    "LabelCoding",
    "LabelMask",
    "PartialLabelDataset",
    "Photometric",
    "RawImage",
    "Sample",
    "SampleKey",
    "SampleMeta",
    "SplitRule",
    "choose_crop",
    "collate",
    "describe_label_mask",
    "draw_label_mask",
    "full_label_mask",
    "has_content",
    "label_table",
    "read_label_mask",
    "require_labels",
    "write_label_mask",
]
