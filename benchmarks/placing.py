"""Objects put into random frames and placed by their views: how exact, and how long it takes.

    python benchmarks/placing.py DATA                   the four sample objects, three frames each
    python benchmarks/placing.py DATA --deformed        bent and smoothed first, as a generated object would be
    python benchmarks/placing.py DATA --no-colours      outlines alone
    python benchmarks/placing.py DATA --depth depth_norm

DATA holds one folder per object with transforms_train.json, views/ and gt_mesh.ply. Of deformed objects rotation and
scale are measured against the best fit of corresponding vertices, which is not quite what fits the outlines best.
`cpu s` is processor time of all cores together. Exit code 1 if an object that was not deformed misses the aim:
1 degree, 1 %, 20 seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from harness import commit

from meshwright.device import describe_device, pick_device
from meshwright.models.reconviagen.placing import place
from meshwright.types import SilentMonitor
from placing_frames import OBJECTS, deformed, missed, random_frame, sample_object, settled

HEADINGS = ("object", "frame", "degrees", "scale %", "offset", "overlap", "orientations", "s", "cpu s", "warnings")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", default=",".join(OBJECTS), help="objects, separated by commas")
    parser.add_argument("--frames", type=int, default=3, help="random frames for each object")
    parser.add_argument("--deformed", action="store_true")
    parser.add_argument("--no-colours", action="store_true")
    parser.add_argument("--depth", help="folder of depth renders beside the views")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = pick_device(options.device)
    print(f"{describe_device(device)['name']} ({device}), commit {commit()}\n")
    print("| " + " | ".join(HEADINGS) + " |\n" + "| --- " * len(HEADINGS) + "|", flush=True)
    wrong = 0
    for name in options.only.split(","):
        views, true, colours = sample_object(options.data, name, options.depth)
        assert views.cameras is not None
        for seed in range(options.frames):
            frame = random_frame(seed)
            mesh = frame.applied(deformed(true, seed=seed) if options.deformed else true)
            begun, spent = time.perf_counter(), time.process_time()
            found = place(
                mesh,
                views.views,
                views.cameras,
                colours=None if options.no_colours else colours,
                monitor=SilentMonitor(),
                device=device,
            )
            seconds, processor = time.perf_counter() - begun, time.process_time() - spent
            miss = settled(found.mesh, true) if options.deformed else missed(found, frame)
            if not options.deformed and (miss.degrees > 1 or abs(miss.scale) > 0.01 or seconds > 20):
                wrong += 1
            row = (
                name,
                str(seed),
                f"{miss.degrees:.3f}",
                f"{100 * miss.scale:+.3f}",
                f"{miss.offset:.5f}",
                f"{found.report['outline_overlap']:.4f}",
                str(found.report["orientations_by_outline"]),
                f"{seconds:.1f}",
                f"{processor:.1f}",
                str(len(found.warnings)),
            )
            print("| " + " | ".join(row) + " |", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
