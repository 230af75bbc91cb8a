"""What tools/bench and tools/growth make of figures: tables, places for them in documents, and drawings by gnuplot."""
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def markdown(table: list[list[str]], left: set[int]) -> str:
    """A table with its header in the first row; `left` are the columns of words."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]

    def line(row: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) if i in left else cell.rjust(width)
                                 for i, (cell, width) in enumerate(zip(row, widths))) + " |"
    rule = "|" + "|".join("-" * (width + 2) if i in left else "-" * (width + 1) + ":"
                          for i, width in enumerate(widths)) + "|"
    return "\n".join([line(table[0]), rule] + [line(row) for row in table[1:]])


def update(file: Path, tool: str, text: str):
    """Puts the text between the two marks of a tool in a document."""
    begin, end = f"<!-- figures of {tool}: begin -->", f"<!-- figures of {tool}: end -->"
    document = file.read_text()
    if begin not in document or end not in document:
        sys.exit(f"{file}: the marks `{begin}` and `{end}` are missing")
    before, _, rest = document.partition(begin)
    file.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}")


def quoted(text: str) -> str:
    """Text as gnuplot reads it between single quotes."""
    return "'" + text.replace("'", "''") + "'"


def canvas(width: int, height: int) -> str:
    return f"set terminal svg noenhanced size {width},{height} font 'sans,13' background rgb 'white'\n"


def data(name: str, points: list[tuple]) -> str:
    """A block of data; gnuplot wants a point in each, so that one without any has one that is nowhere."""
    return f"${name} << END\n" + "".join(
        " ".join(f"{value:.6g}" for value in point) + "\n" for point in points or [(float("nan"),) * 2]) + "END\n"


def draw(commands: str, file: Path):
    """Draws an SVG."""
    try:
        done = subprocess.run(["gnuplot", "-d"], input=commands, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        sys.exit("a drawing needs gnuplot, which was not found: tools/setup installs it")
    if done.returncode != 0 or not done.stdout.rstrip().endswith("</svg>"):
        sys.exit(f"gnuplot failed: {done.stderr}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(line.rstrip() for line in done.stdout.rstrip().splitlines()) + "\n")


@dataclass
class Bar:
    """The ratio of a case, and the least it must and the least it should have."""
    name: str
    ratio: float
    floor: float | None
    goal: float | None


def bars(title: str, rows: list[Bar]) -> str:
    """gnuplot's commands for bars from 1 to the ratios, on a logarithmic axis, the first at the top."""
    values = [value for row in rows for value in (row.ratio, row.floor, row.goal) if value is not None]
    places = [(len(rows) - i, row) for i, row in enumerate(rows)]
    ticks = ", ".join(f"{quoted(row.name)} {place}" for place, row in places)

    def marks(kind: str) -> list[tuple]:
        return [(getattr(row, kind), place) for place, row in places if getattr(row, kind) is not None]
    return (canvas(900, 130 + 22 * len(rows)) + f"set title {quoted(title)}\n"
            "set xlabel 'ratio: time or bytes of the parent over ours; 1 is as good as the parent'\n"
            f"set logscale x\nset xrange [{min(1, 0.8 * min(values)):.4g}:{1.3 * max(values):.4g}]\n"
            f"set yrange [0.3:{len(rows) + 0.7}]\nset ytics ({ticks})\nset format x '%g'\n"
            "set xtics (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)\n"
            "set grid xtics\nset key outside top right horizontal\nset style fill solid 0.9 noborder\n"
            + data("ratios", [(row.ratio, place) for place, row in places])
            + data("floors", marks("floor")) + data("goals", marks("goal"))
            + "plot $ratios using 1:2:(1):1:($2-0.35):($2+0.35) with boxxyerror linecolor rgb '#6baed6' title 'ratio', "
            "$floors using 1:($2-0.45):(0):(0.9) with vectors nohead linewidth 3 linecolor rgb '#cb181d' "
            "title 'floor', "
            "$goals using 1:($2-0.45):(0):(0.9) with vectors nohead linewidth 3 linecolor rgb '#238b45' "
            "title 'goal'\n")


@dataclass
class Panel:
    """Lines over one axis: by name, and of each its points."""
    title: str
    axis: str
    lines: dict[str, list[tuple[float, float]]]


def curves(panels: list[Panel], quantity: str) -> str:
    """gnuplot's commands for panels below each other, both axes logarithmic."""
    text = canvas(900, 360 * len(panels)) + f"set multiplot layout {len(panels)},1\n"
    text += ("set logscale x 2\nset logscale y 2\nset format y '%g'\nset grid\nset key outside right top\n"
             f"set linetype 5 linecolor rgb '#a65628'\nset ylabel {quoted(quantity)}\n")
    for i, panel in enumerate(panels):
        places = sorted({x for points in panel.lines.values() for x, _ in points})
        ticks = ", ".join(f"'{place:,.0f}' {place:.0f}" for place in places)
        text += "".join(data(f"line{i}_{k}", points) for k, points in enumerate(panel.lines.values()))
        text += (f"set title {quoted(panel.title)}\nset xlabel {quoted(panel.axis)}\nset xtics ({ticks})\n"
                 f"set xrange [{places[0] / 1.2:.6g}:{places[-1] * 1.2:.8g}]\nplot "
                 + ", ".join(f"$line{i}_{k} using 1:2 with linespoints linewidth 2 pointtype 7 pointsize 0.6 "
                             f"title {quoted(name)}" for k, name in enumerate(panel.lines)) + "\n")
    return text + "unset multiplot\n"
