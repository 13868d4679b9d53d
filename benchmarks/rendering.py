"""Processor time of rendering one procedural image with all its labels, on one core; see docs/procedural.md.

OMP_NUM_THREADS=1 python benchmarks/rendering.py rooms 64 80
OMP_NUM_THREADS=1 python benchmarks/rendering.py streets 96 192
"""

from __future__ import annotations

import sys
import time
from statistics import median

from mtdense.data.procedural import ProceduralScenes, ProceduralStreets

WORLDS: dict[str, type[ProceduralScenes] | type[ProceduralStreets]] = {
    "rooms": ProceduralScenes,
    "streets": ProceduralStreets,
}
IMAGES = 11


def main() -> None:
    """Prints median, shortest and longest of the images after the first, which compiles."""
    scenes = WORLDS[sys.argv[1]]((int(sys.argv[2]), int(sys.argv[3])))
    scenes.render(0)
    times = []
    for index in range(1, IMAGES + 1):
        start = time.process_time()
        scenes.render(index)
        times.append(1e3 * (time.process_time() - start))
    print(
        f"{sys.argv[1]} {scenes.size[0]}x{scenes.size[1]}: median {median(times):.1f} ms an image, "
        f"{min(times):.1f} to {max(times):.1f} ({IMAGES} images)"
    )


if __name__ == "__main__":
    main()
