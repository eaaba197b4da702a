"""What was measured, as docs/performance.md shows it: ratios first, then the raw figures, plots."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.contestants import Ours
from tests.servers import ROOT

DOCUMENT = ROOT / "docs" / "performance.md"
FIGURES = ROOT / "docs" / "performance.json"
PLOTS = ROOT / "docs" / "performance"
BEGIN, END = "<!-- the tables of make bench -->\n", "<!-- their end -->\n"

type Raw = dict[str, Any]
type Row = dict[str, Any]


def of_rounds(rounds: Sequence[Raw], *path: str) -> list[float]:
    """One number of each round that was whole: `of_rounds(rounds, "10/s", "cpu_us")`."""
    found = []
    for one in rounds:
        value: Any = one
        for name in path:
            value = value.get(name, {}) if isinstance(value, dict) else {}
        if isinstance(value, int | float):
            found.append(float(value))
    return found


def shown(values: Sequence[float], unit: str = "") -> str:
    """Median (least to most)."""
    if not values:
        return "failed"
    digits = 2 if max(values) < 100 else 0
    least, middle, most = (f"{f(values):.{digits}f}" for f in (min, median, max))
    return f"{middle}{unit} ({least} to {most})" if len(values) > 1 else f"{middle}{unit}"


def ratio(work: str, bar: float, ours: Sequence[float], peer: Sequence[float], name: str) -> Row:
    if not ours or not peer:
        return {"work": work, "bar": f"<= {bar:g} x {name}", "value": "failed", "met": False}
    found = median(ours) / median(peer)
    least, most = min(ours) / max(peer), max(ours) / min(peer)
    spread = f" ({least:.2f} to {most:.2f})" if len(ours) > 1 else ""
    value = f"**{found:.2f} x**{spread}: {shown(ours)} against {shown(peer)}"
    return {"work": work, "bar": f"<= {bar:g} x {name}", "value": value, "met": found <= bar}


def below(work: str, bar: float, values: Sequence[float], unit: str) -> Row:
    return {
        "work": work,
        "bar": f"<= {bar:g} {unit}",
        "value": shown(values, f" {unit}"),
        "met": bool(values) and median(values) <= bar,
    }


def named(found: Raw, word: str) -> tuple[str, list[Raw]]:
    """The contestant whose name begins so, and its rounds."""
    name = next(name for name in found if name.startswith(word))
    return name, found[name]


# --- each work's rows ---------------------------------------------------------------------------


def viewers_4000(found: Raw) -> list[Row]:
    ours = found[Ours.name]
    rows = []
    for rate, peer, bar in (
        ("50/s", "nginx", 0.17),
        ("50/s", "Node", 0.15),
        ("10/s", "nginx", 0.65),
        ("1/s", "nginx", 1.6),
    ):
        name, theirs = named(found, peer)
        work = f"4,000 viewers, {rate}: server CPU per delivered comment, µs"
        mine = of_rounds(ours, rate, "cpu_us")
        rows.append(ratio(work, bar, mine, of_rounds(theirs, rate, "cpu_us"), name))
    late = of_rounds(ours, "50/s", "p99_ms")
    row = below("4,000 viewers, 50/s: p99 from sent to seen, nothing lost", 300, late, "ms")
    others = "; ".join(
        f"{name} {shown(of_rounds(rounds, '50/s', 'p99_ms'), ' ms')}"
        for name, rounds in found.items()
        if name != Ours.name
    )
    return [*rows, row | {"value": f"{row['value']}; {others}"}]


def tutorial(found: Raw) -> list[Row]:
    chats = {n: of_rounds(r, "10/s", "cpu_us") for n, r in found.items() if n != Ours.name}
    best = min((name for name in chats if chats[name]), key=lambda name: median(chats[name]))
    work = "500 viewers, 10/s: server CPU per delivered comment, µs"
    return [ratio(work, 0.08, of_rounds(found[Ours.name], "10/s", "cpu_us"), chats[best], best)]


def few(found: Raw) -> list[Row]:
    late = of_rounds(found[Ours.name], "2/s", "p99_ms")
    return [below("200 viewers, 2/s: p99 from sent to seen", 30, late, "ms")]


def deflate(found: Raw) -> list[Row]:
    plain, deflated = found["plain"], found["deflated"]
    memory = of_rounds(deflated, "10/s", "kib_per_viewer")
    rows = [below("offering permessage-deflate: memory per viewer", 45, memory, "KiB")]
    for rate in ("10/s", "50/s"):
        work = f"offering permessage-deflate, {rate}: server CPU per delivered comment, µs"
        mine, theirs = of_rounds(deflated, rate, "cpu_us"), of_rounds(plain, rate, "cpu_us")
        rows.append(ratio(work, 1.1, mine, theirs, "uncompressed"))
    mine, theirs = of_rounds(deflated, "50/s", "wire_bytes"), of_rounds(plain, "50/s", "wire_bytes")
    work = "offering permessage-deflate, 50/s: bytes on the wire per delivered comment"
    return [*rows, ratio(work, 0.25, mine, theirs, "uncompressed")]


def connects(found: Raw) -> list[Row]:
    name, theirs = named(found, "tutorial")
    work = "CPU per connect, µs"
    bare = of_rounds(theirs, "cpu_us")
    return [
        ratio(
            f"{work}: session, authority, resume", 1.0, of_rounds(found[Ours.name], "cpu_us"), bare,
            f"{name}, bare",
        ),
        ratio(
            f"{work}: the same, each signed in with an account", 1.0,
            of_rounds(named(found, f"{Ours.name}, all")[1], "cpu_us"), bare, f"{name}, bare",
        ),
    ]  # fmt: skip


def two_processes(found: Raw) -> list[Row]:
    work = "two processes through Redis, 10/s: CPU per delivered comment, Redis' own too, µs"
    one, two = (of_rounds(found[name], "10/s", "cpu_us") for name in ("one", "two"))
    return [ratio(work, 1.1, two, one, "one process")]


def ten_thousand(found: Raw) -> list[Row]:
    rounds = found[Ours.name]
    delivered = of_rounds(rounds, "10/s", "delivered")
    work = "10,000 viewers in one process, 10/s for 60 s: memory of the process"
    row = below(work, 600, of_rounds(rounds, "10/s", "rss_mib"), "MiB")
    late = of_rounds(rounds, "10/s", "p99_ms")
    return [
        row
        | {
            "value": f"{row['value']}; {delivered[0]:,.0f} delivered, none lost or doubled, p99"
            f" {late[0]:.0f} ms"
        }
    ]


ROWS: dict[str, Callable[[Raw], list[Row]]] = {
    "viewers_4000": viewers_4000,
    "tutorial": tutorial,
    "few": few,
    "deflate": deflate,
    "connects": connects,
    "ten_thousand": ten_thousand,
    "two_processes": two_processes,
}


# --- the document -------------------------------------------------------------------------------


def table(rows: Sequence[Row]) -> list[str]:
    lines = ["| work | bar | measured | |", "|---|---|---|---|"]
    for row in rows:
        met = "met" if row["met"] else "**missed**"
        lines.append(f"| {row['work']} | {row['bar']} | {row['value']} | {met} |")
    return lines


def raw_table(found: Raw) -> list[str]:
    """Every contestant of a work at every rate: median (least to most)."""
    lines = [
        "| server | comments | CPU µs per delivery | p50 ms | p99 ms | comments per frame |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, rounds in found.items():
        failed = [one["failed"] for one in rounds if "failed" in one]
        for rate in dict.fromkeys(rate for one in rounds for rate in one if rate.endswith("/s")):
            cells = (
                shown(of_rounds(rounds, rate, what))
                for what in ("cpu_us", "p50_ms", "p99_ms", "comments_per_frame")
            )
            lines.append(f"| {name} | {rate} | {' | '.join(cells)} |")
        lines += [f"| {name} | | failed: {why} | | | |" for why in failed]
    return lines


def write(figures: Raw) -> None:
    """Put everything measured so far into the document, between its two marks."""
    fanout, parts = figures.get("fanout", {}), []
    rows = [
        row for work, of_work in ROWS.items() if work in fanout for row in of_work(fanout[work])
    ]
    parts += ["### Fan-out", "", *table(rows), ""]
    for name in ("database", "browser"):
        if name in figures:
            part = figures[name]
            parts += [f"### {part['title']}", "", *table(part["rows"]), ""]
            parts += [line for note in part["notes"] for line in (note, "")]
    for work, title in (("viewers_4000", "4,000 viewers"), ("tutorial", "500 viewers")):
        if work in fanout:
            parts += [f"### {title}, raw", "", *raw_table(fanout[work]), ""]
    if {"over_viewers", "over_rates"} <= set(fanout):
        plot(fanout["over_viewers"], fanout["over_rates"])
        parts += [
            "### As it grows",
            "",
            "![Over viewers, at 10 comments a second](performance/over-viewers.svg)",
            "",
            "![Over comments a second, with 1,000 viewers](performance/over-rates.svg)",
            "",
        ]
    parts += ["Measured: " + "; ".join(f"{k}, {v}" for k, v in figures["when"].items()) + ".", ""]
    text = DOCUMENT.read_text()
    before, _begin, rest = text.partition(BEGIN)
    _old, _end, after = rest.partition(END)
    DOCUMENT.write_text(before + BEGIN + "\n" + "\n".join(parts) + "\n" + END + after)


def plot(over_viewers: Raw, over_rates: Raw) -> None:
    PLOTS.mkdir(exist_ok=True)
    draw(over_viewers, "viewers", PLOTS / "over-viewers.svg")
    rates = {name.removesuffix("/s"): one for name, one in over_rates.items()}
    draw(rates, "comments a second", PLOTS / "over-rates.svg")


def draw(points: Raw, axis: str, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "streamsite", "font.size": 9}
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained")
    xs = [float(x) for x in points]
    for ax, title, lines in zip(
        axes,
        ("CPU per delivery, µs", "from sent to seen, ms", "memory, MiB"),
        (("cpu_us",), ("p50_ms", "p99_ms"), ("rss_mib",)),
        strict=True,
    ):
        for name in lines:
            ys = [one[name] for one in points.values()]
            ax.plot(xs, ys, marker="o", markersize=3, label=name.removesuffix("_ms"))
        ax.set(title=title, xlabel=axis, xscale="log")
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.3)
        if len(lines) > 1:
            ax.legend()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
