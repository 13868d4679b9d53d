"""Stands in for `python -m mtdense` in tests of comparisons: copies records that the test has prepared.

    python evidence_program.py PREPARED fit --config RUN/trial.yaml --run_dir RUN
    python evidence_program.py PREPARED fit --ckpt_path RUN/checkpoints/last.ckpt
    python evidence_program.py PREPARED test --ckpt_path RUN/checkpoints/last.ckpt --config RUN/trial.yaml

PREPARED/<trial>/{fit,test}.json are the records; PREPARED/<trial>/fail makes `fit` fail, PREPARED/<trial>/diverge makes
it save a checkpoint and end as a training with a loss of NaN, PREPARED/<trial>/hang makes it save a checkpoint and wait
for SIGINT. PREPARED/calls.txt gets a line for each call.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

prepared, what, option, value = Path(sys.argv[1]), *sys.argv[2:5]
run = Path(value).parent if option == "--config" else Path(value).parents[1]
trial = json.loads((run / "trial.json").read_text())["id"]
with (prepared / "calls.txt").open("a") as calls:
    calls.write(f"{what} {option} {trial} {os.environ['OMP_NUM_THREADS']}\n")
told = prepared / trial
last = run / "checkpoints" / "last.ckpt"
if what == "fit":
    if option == "--config":
        assert sys.argv[5:] == ["--run_dir", str(run)]
        # As the real program, which refuses a folder that holds a run.
        assert not last.exists() and not (run / "records").exists()
    else:
        assert last.is_file()
    if (told / "fail").exists():
        sys.exit("mtdense: error: made to fail")
    last.parent.mkdir(exist_ok=True)
    last.write_text("weights")
    if (told / "diverge").exists():
        print("mtdense: error: the loss is not finite in step 7: semseg")
        sys.exit(3)
    if (told / "hang").exists():
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            (told / "stopped").touch()
            sys.exit(1)
else:
    assert sys.argv[5:] == ["--config", str(run / "trial.yaml")]
    assert last.read_text() == "weights"
(run / "records").mkdir(exist_ok=True)
shutil.copyfile(told / f"{what}.json", run / "records" / f"{what}.json")
