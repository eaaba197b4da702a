"""`make bench`: measures, and writes docs/performance.md, .json and plots.

python -m bench.run [--quick] [PART …]. What is not measured anew stands as it was. A quick run
shows that everything works, and prints; it writes nothing.
"""

import argparse
import json
import platform
from datetime import UTC, datetime
from typing import Any

from bench import browser, database, fanout, report

PARTS = (*fanout.ALL, "database", "browser")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.run")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="smaller and shorter; writes nothing")
    parser.add_argument("--rounds", type=int, default=3, help="of each contestant (3)")
    chosen = parser.parse_args()
    parts = chosen.parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    figures: dict[str, Any] = {"fanout": {}, "when": {}}
    if report.FIGURES.exists():
        figures |= json.loads(report.FIGURES.read_text())
    for part in parts:
        if part in fanout.ALL:
            found = fanout.run([part], quick=chosen.quick, rounds=chosen.rounds)
            figures["fanout"] |= found
        else:
            measure = database.run if part == "database" else browser.run
            found = figures[part] = measure(chosen.quick)
        if chosen.quick:
            print(json.dumps(found, indent=1))
            continue
        now = datetime.now(UTC)
        figures["when"][part] = f"{now.day} {now:%B %Y %H:%M} UTC"
        figures["machine"] = f"{platform.machine()}, Linux {platform.release()}"
        report.FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
        report.write(figures)


if __name__ == "__main__":
    main()
