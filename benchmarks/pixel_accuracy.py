"""Share of labelled test pixels whose class a checkpoint gets right: shows whether a handful of images was overfitted.

python benchmarks/pixel_accuracy.py RUN/checkpoints/last.ckpt
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import mtdense
from data_modules import DenseDataModule
from mtdense.models.checkpoint import read_checkpoint, resolve_class


def main() -> None:
    """Prints one line per task of class maps."""
    info = read_checkpoint(Path(sys.argv[1]))
    model = mtdense.load(info.path)
    data = resolve_class(str(info.data_class), DenseDataModule)(**info.data_args)
    data.setup("test")
    right, labelled = dict.fromkeys(model.tasks, 0), dict.fromkeys(model.tasks, 0)
    for batch in data.test_dataloader():
        with torch.no_grad():
            predictions = model.predict_batch(batch)
        for name, task in model.tasks.items():
            if task.stored_as == "classes":
                valid = task.valid(batch["targets"][name])
                right[name] += int((predictions[name] == batch["targets"][name])[valid].sum())
                labelled[name] += int(valid.sum())
    for name, number in labelled.items():
        if number:
            print(f"{name}: {right[name] / number:.4f} of {number} labelled pixels")


if __name__ == "__main__":
    main()
