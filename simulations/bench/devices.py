"""What a step costs on each device: a private one, and a plain one that does the same work; see `tasks`.

    python -m simulations.bench.devices [cpu] [cuda]

Prints a table: milliseconds a step of six phantoms, one thread on the CPU, the median of `REPEATS` measurements.
"""

from __future__ import annotations

import argparse
import statistics

from simulations.bench.tasks import KINDS, step_of

REPEATS = 3

ROWS: tuple[tuple[str, str, int, dict[str, object]], ...] = (
    ("2-D U-Net, 128²", "segment", 128, {"features": [32, 64, 128, 256, 256], "unshuffle": 2}),
    ("3-D U-Net, 128²", "segment", 128, {"dimensions": 3, "features": [16, 32, 64, 128]}),
    ("DCGAN, 64²", "dcgan", 64, {"size": 64}),
    ("refining phantoms, 64²", "phantom_gan", 64, {"size": 64}),
)
"""What is shown, task, size of the phantoms' slices, options."""


def table(devices: list[str]) -> str:
    """Return the table, in Markdown."""
    heads = [f"{kind}, {device} (ms)" for device in devices for kind in KINDS]
    lines = [f"| network | {' | '.join(heads)} |", "|---" + "|---:" * len(heads) + "|"]
    for shown, task, size, options in ROWS:
        found = [
            statistics.median(step_of(task, kind, device, size, options)["seconds"] for _ in range(REPEATS))
            for device in devices
            for kind in KINDS
        ]
        lines.append(f"| {shown} | {' | '.join(f'{1000 * seconds:.1f}' for seconds in found)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devices", nargs="*", default=["cpu"], metavar="DEVICE", help="such as cpu or cuda")
    print(table(parser.parse_args().devices))
