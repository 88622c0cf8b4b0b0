"""The table at the end."""
CLIENT_FULL = 0.95
SERVER_FREE = 0.9
# No two cores are that far apart: other programs had them when they were measured.
DISTURBED_NS = 300


def number(value, form="{:.2f}"):
    return "-" if value is None else form.format(value)


def rate(value):
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.0f}"


def note(one, two_cores):
    if two_cores and one["client_share"] > CLIENT_FULL and one["server_share"] < SERVER_FREE:
        return "the client was the limit: its rate says nothing"
    return ""


HEAD = ("server", "CPU us", "min-max", "/epoll", "/uring", "pairs", "rate/s", "/epoll", "p50 us",
        "p99 us", "syscalls", "client", "")


def row(name, one, syscalls, two_cores):
    cpu = one["cpu_ns"]
    return (name, number(cpu["median"] / 1e3, "{:.3f}"),
            f"{cpu['min'] / 1e3:.3f}-{cpu['max'] / 1e3:.3f}",
            number(one["cpu_to_raw_epoll"]), number(one["cpu_to_raw_uring"]),
            str(one["pairs_with_raw_epoll"]),
            rate(one["rate"]["median"]), number(one["rate_to_raw_epoll"]),
            number(one["latency_ns"]["p50"] / 1e3, "{:.1f}"),
            number(one["latency_ns"]["p99"] / 1e3, "{:.1f}"),
            number(syscalls), f"{one['client_share']:.0%}", note(one, two_cores))


def lines(rows):
    widths = [max(len(cells[n]) for cells in rows) for n in range(len(rows[0]))]
    for cells in rows:
        yield "  ".join(cell.ljust(width) if n in (0, len(widths) - 1) else cell.rjust(width)
                        for n, (cell, width) in enumerate(zip(cells, widths))).rstrip()


def memory_table(name, load):
    yield ""
    yield f"{name}: {load['text']}; bytes for each {load['unit']}"
    rows = [("server", "user", "min-max", "kernel, both ends", "")]
    for server, one in load["summary"].items():
        user, kernel = one["user_bytes"], one.get("kernel_bytes")
        rows.append((server, f"{user['median']:.0f}", f"{user['min']:.0f}-{user['max']:.0f}",
                     f"{kernel['median']:.0f}" if kernel else "-", ""))
    yield from ("  " + line for line in lines(rows))
    for server, why in load["failures"].items():
        yield f"  {server}: {why}"


def load_table(name, load, two_cores):
    yield ""
    rounds = len(load["rounds"])
    yield (f"{name}: {load['text']}; for each {load['unit']}, medians of {rounds} rounds; "
           f"load {load['load_average']}")
    if load["dropped"]:
        yield f"  {len(load['dropped'])} rounds dropped, the last because: {load['dropped'][-1]}"
    if load["summary"]:
        rows = [HEAD] + [row(server, one, load.get("syscalls", {}).get(server), two_cores)
                         for server, one in load["summary"].items()]
        yield from ("  " + line for line in lines(rows))
    for server, why in load["failures"].items():
        yield f"  {server}: {why}"


def table(report):
    facts = report["machine"]
    two = report["cores"] == "two"
    yield f"{facts['date']}  {facts['command']}"
    yield (f"{facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}, "
           f"{facts['congestion_control']}, load {facts['load_average']} at the start")
    yield ("client and server on a core each" if two else "client and server on the same core")
    near = report.get("core_latency_ns")
    if near:
        yield (f"a cache line took {near:.0f} ns from core to core at best before the first round"
               f"{': something else ran, read nothing out of this' if near > DISTURBED_NS else ''}")
    for name, load in report["loads"].items():
        yield from memory_table(name, load) if load.get("memory") else load_table(name, load, two)
