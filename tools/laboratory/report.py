"""The tables of a record, for people."""

import shutil
import textwrap

from laboratory.ratios import number, ratio, series
from laboratory.record import SETTING

ARROW = {"more": "↑", "less": "↓", "neutral": " "}
DETAILS = ("CPU, machine", "CPU, daemon of the sender", "CPU, daemon of the receiver", "retransmits", "goodput", "lost",
           "reordered", "p50", "p99.9")


def columns():
    """How wide the terminal is that the tables go to; 0 for a file or a pipe, whose lines have no end."""
    return shutil.get_terminal_size((0, 0)).columns


def folded(text, width, indent=10):
    """The text with its lines broken to the width, if there is one; what follows a break is indented."""
    if not width:
        return text
    return "\n".join("\n".join(textwrap.wrap(line, width, subsequent_indent=" " * indent, break_on_hyphens=False)) or line
                     for line in text.split("\n"))


def heading(record):
    """Which machine, versions and command made the figures."""
    machine = record.machine
    lines = [f"command   {record.command}", f"commit    {machine['commit']}",
             f"machine   {machine['cpu']}, {machine['cpus']} processors, {machine['memory_gib']} GiB; {machine['features']}; "
             f"microcode {machine['microcode']}; {machine['virtualization']}",
             f"kernel    {machine['kernel']}; governor: {machine['governor']}; load when it began: {machine['load']}",
             f"cores     {machine['cores']}: daemons, traffic and the lab itself all run there",
             f"traffic   {machine['iperf3']}; {machine['wg']}"]
    for plane in record.planes:
        environment = " ".join(f"{key}={value}" for key, value in plane.get("environment", {}).items())
        program = f", {plane['program']}, sha256 {plane['sha256'][:12]}" if "program" in plane else ""
        lines.append(f"plane     {plane['name']}: {plane['version']}{program}{', ' + environment if environment else ''}"
                     f"{', a group of %d tunnels' % plane['tunnels'] if 'tunnels' in plane else ''}")
    lines += [f"left out  {each}" for each in record.left_out]
    return "\n".join(lines)


def cell(mine, base):
    """`median [least most] ratio`, with a mark if others disturbed a round."""
    if mine is None:
        return "-"
    spread = f" [{number(mine.least())} {number(mine.most())}]" if len(mine) > 1 else ""
    found = ratio(mine, base) if base and base is not mine else None
    return f"{number(mine.median())}{'!' if mine.disturbed else ''}{spread} {f'{found:.2f}x' if found is not None else '':>6}"


def aligned(lines, width=0):
    """Lines of cells as text: the first column to the left, the others to the right. Columns that do not fit into the width go
    below, each time with the first column again, which is folded where it leaves no room for another."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    if width:
        widths[0] = min(widths[0], max(20, width - 3 - max(widths[1:])))
    blocks, used = [[]], widths[0]
    for number, wanted in enumerate(widths[1:], 1):
        if width and blocks[-1] and used + 3 + wanted > width:
            blocks.append([])
            used = widths[0]
        blocks[-1].append(number)
        used += 3 + wanted
    text = []
    for block in blocks:
        text += [""] if text else []
        for line in lines:
            first, *more = textwrap.wrap(line[0], widths[0], subsequent_indent="    ") or [""]
            text.append("   ".join([first.ljust(widths[0]), *(line[number].rjust(widths[number]) for number in block)]).rstrip())
            text += more
    return text


def rows_of(figures):
    """((name, peers), figures of that row): what was measured together stays together, fewer peers first."""
    heads, tails, rows = {}, {}, {}
    for figure in figures:
        head = figure["name"].partition(":")[0]
        heads.setdefault(head, len(heads))
        tails.setdefault(figure["name"], len(tails))
        rows.setdefault((figure["name"], figure["peers"]), []).append(figure)
    return sorted(rows.items(), key=lambda row: (heads[row[0][0].partition(":")[0]], row[0][1], tails[row[0][0]]))


def tables(record, width=0):
    """One table for each wire and family. That of a quick run leaves details out; its JSON has them."""
    names = list(dict.fromkeys(plane["name"] for plane in record.planes))
    groups = {}
    for figure in record.figures:
        if record.kind == "quick" and figure["name"].partition(": ")[2] in DETAILS:
            continue
        groups.setdefault((figure["wire_mtu"], figure["inner"], figure["outer"]), []).append(figure)
    lines = []
    for (wire_mtu, inner, outer), found in groups.items():
        rounds = len({figure["round"] for figure in found})
        title = (f"wire MTU {wire_mtu} (inside {wire_mtu - 80}), inner {inner}, outer {outer}: medians of {rounds} round"
                 f"{'s' if rounds != 1 else ''} [least most], ratio to {record.baseline}")
        lines += ["", folded(title, width)]
        cells = [["", *names]]
        for (name, peers), figures in rows_of(found):
            base = series(figures, plane=record.baseline)
            head, colon, tail = name.partition(":")
            label = f"{head}{f', {peers} peers' if peers != 1 else ''}{colon}{tail}, {figures[0]['unit']}"
            cells.append([f"{ARROW[figures[0]['better']]} {label}",
                          *(cell(series(figures, plane=plane), base) for plane in names)])
        lines += aligned(cells, width)
    lines += ["", folded("↑ more is better, ↓ less is better. A ratio is the median of plane / baseline within each round.", width, 0)]
    return "\n".join(lines)


def warnings(record):
    """What makes figures doubtful."""
    lines = []
    for each in record.failures:
        variant = "" if each["variant"] is None else f" {each['variant']}"
        variant += f", {each['congestion']}" if each.get("congestion") else ""
        lines.append(f"failed: round {each['round']}, {each['plane']}, wire MTU {each['wire_mtu']}, {each['measure']}{variant}: "
                     f"{each['problem']}")
    disturbed = [figure for figure in record.figures if figure["disturbed"]]
    if disturbed:
        trials = {tuple(figure[key] for key in ("round", "plane", *SETTING, "measure", "variant", "direction"))
                  for figure in disturbed}
        worst = max(figure["foreign_cores"] for figure in disturbed)
        stolen = max(figure["stolen_cores"] for figure in disturbed)
        lines.append(f"disturbed (!): {len(trials)} trials, in rounds {', '.join(map(str, sorted({each[0] for each in trials})))}: "
                     f"others used up to {worst:.2f} cores, the host took up to {stolen:.2f}. Such figures mean little.")
    if not record.complete:
        lines.append("not complete: the run was ended before its last round")
    return "\n".join(lines)
