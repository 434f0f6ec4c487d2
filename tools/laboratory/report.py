"""The tables of a record, for people."""

from laboratory.ratios import number, ratio, series

ARROW = {"more": "↑", "less": "↓", "neutral": " "}
WIDTH = 27


def heading(record):
    """Which machine, versions and command made the figures."""
    machine = record.machine
    lines = [f"command   {record.command}", f"commit    {machine['commit']}", f"machine   {machine['cpu']}, {machine['cpus']} processors, "
             f"{machine['memory_gib']} GiB; {machine['features']}; microcode {machine['microcode']}; {machine['virtualization']}",
             f"kernel    {machine['kernel']}; governor: {machine['governor']}; load when it began: {machine['load']}",
             f"cores     {machine['cores']}: daemons, traffic and the lab itself all run there",
             f"traffic   {machine['iperf3']}; {machine['wg']}"]
    for plane in record.planes:
        environment = " ".join(f"{key}={value}" for key, value in plane.get("environment", {}).items())
        program = f", {plane['program']}, sha256 {plane['sha256'][:12]}" if "program" in plane else ""
        lines.append(f"plane     {plane['name']}: {plane['version']}{program}{', ' + environment if environment else ''}")
    lines += [f"left out  {each}" for each in record.left_out]
    return "\n".join(lines)


def cell(mine, base):
    """`median [least most] ratio`, with a mark if others disturbed a round."""
    if mine is None:
        return "-".rjust(WIDTH)
    text = f"{number(mine.median())}{'!' if mine.disturbed else ''}"
    if len(mine) > 1:
        text += f" [{number(mine.least())} {number(mine.most())}]"
    found = ratio(mine, base) if base and base is not mine else None
    return f"{text} {f'{found:.2f}x' if found is not None else '':>6}".rjust(WIDTH)


def tables(record):
    """One table for each wire and family; rows in the order in which they were measured first."""
    names = [plane["name"] for plane in record.planes]
    groups = {}
    for figure in record.figures:
        group = groups.setdefault((figure["wire_mtu"], figure["inner"], figure["outer"]), {})
        group.setdefault((figure["name"], figure["peers"]), []).append(figure)
    lines = []
    for (wire_mtu, inner, outer), rows in groups.items():
        rounds = len({figure["round"] for figures in rows.values() for figure in figures})
        lines += [f"\nwire MTU {wire_mtu} (inside {wire_mtu - 80}), inner {inner}, outer {outer}: medians of {rounds} round"
                  f"{'s' if rounds != 1 else ''} [least most], ratio to {record.baseline}",
                  f"{'':48}" + "".join(f"{name:>{WIDTH}}" for name in names)]
        for (name, peers), figures in rows.items():
            label = f"{ARROW[figures[0]['better']]} {name}{f', {peers} peers' if peers != 1 else ''}, {figures[0]['unit']}"
            base = series(figures, plane=record.baseline)
            lines.append(f"{label:48}" + "".join(cell(series(figures, plane=plane), base) for plane in names))
    lines.append("\n↑ more is better, ↓ less is better. A ratio is the median over the rounds of plane / baseline within a round.")
    return "\n".join(lines)


def warnings(record):
    """What makes figures doubtful."""
    lines = []
    for each in record.failures:
        variant = "" if each["variant"] is None else f" {each['variant']}"
        lines.append(f"failed: round {each['round']}, {each['plane']}, wire MTU {each['wire_mtu']}, {each['measure']}{variant}: {each['problem']}")
    disturbed = [figure for figure in record.figures if figure["disturbed"]]
    if disturbed:
        trials = {(figure["round"], figure["measure"], figure["variant"], figure["plane"], figure["wire_mtu"], figure["peers"],
                   figure["direction"]) for figure in disturbed}
        worst = max(figure["foreign_cores"] for figure in disturbed)
        stolen = max(figure["stolen_cores"] for figure in disturbed)
        lines.append(f"disturbed (!): {len(trials)} trials, in rounds {', '.join(sorted({str(each[0]) for each in trials}))}: others used up to "
                     f"{worst:.2f} cores, the host took up to {stolen:.2f}. Only ratios within a round mean anything, and these little.")
    if not record.complete:
        lines.append("not complete: the run was ended before its last round")
    return "\n".join(lines)
