"""Makes one folder data set of CamVid and 7-Scenes, in which no image has all labels.

    python benchmarks/merge_photographs.py --camvid DIR --sevenscenes DIR --out DIR

CamVid: images/{split}/*.jpg, labels/{split}/*.png (0..10, 11 void) and {split}.txt, the split of the SegNet tutorial.
7-Scenes: images/*.jpg, registered depth in millimetres as PNG in the folder that `--depth` names, train.txt and
val.txt. The 20 last training frames of the room serve for validation, its val.txt for the test. Files are linked.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def stems(path: Path) -> list[str]:
    """Image stems that a split file lists."""
    return [Path(line.strip()).stem for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def link(source: Path, target: Path) -> None:
    """Links a file that must exist."""
    if not source.is_file():
        raise SystemExit(f"no file {source}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())


def main() -> None:
    """Links the files and writes train.txt, val.txt and test.txt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("camvid", "sevenscenes", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--depth", default="depth_registered_mm_DERIVED", help="depth folder of 7-Scenes")
    arguments = parser.parse_args()
    splits: dict[str, list[str]] = {}
    for split in ("train", "val", "test"):
        for stem in (found := stems(arguments.camvid / f"{split}.txt")):
            link(arguments.camvid / "images" / split / f"{stem}.jpg", arguments.out / "images/camvid" / f"{stem}.jpg")
            link(arguments.camvid / "labels" / split / f"{stem}.png", arguments.out / "semseg/camvid" / f"{stem}.png")
        splits[split] = [f"camvid/{stem}" for stem in found]
    frames, held_out = (stems(arguments.sevenscenes / name) for name in ("train.txt", "val.txt"))
    for stem in (*frames, *held_out):
        link(arguments.sevenscenes / "images" / f"{stem}.jpg", arguments.out / "images/scenes" / f"{stem}.jpg")
        link(arguments.sevenscenes / arguments.depth / f"{stem}.png", arguments.out / "depth/scenes" / f"{stem}.png")
    for split, chosen in (("train", frames[:-20]), ("val", frames[-20:]), ("test", held_out)):
        splits[split] += [f"scenes/{stem}" for stem in chosen]
        (arguments.out / f"{split}.txt").write_text("\n".join(splits[split]) + "\n", encoding="utf-8")
        print(f"{split}: {len(splits[split])} images")


if __name__ == "__main__":
    main()
