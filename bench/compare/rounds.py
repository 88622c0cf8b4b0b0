"""Rounds: every server once, in an order that is reversed every other time, so that a machine that
slowly changes does so for all of them alike. Ratios are taken inside of a round."""
import statistics
import sys
import time

from . import loads, machine, servers

# A probe this much slower than the best of those before the first round: the cores have moved.
MOVED_FACTOR = 1.5
PROBES = 9
BUSY_MIN = 0.9
ATTEMPTS_MAX = 2  # rounds measured for each that is wanted; two-core rounds three
# The core's pace may differ this much inside of a run, and between two runs that are compared.
PACE_FACTOR = 1.15
TRIES = 2  # of one run, when the pace changes while it runs
BASES = ("raw_epoll", "raw_uring")


def say(text, end="\n"):
    print(text, end=end, file=sys.stderr, flush=True)


def half_peak(binaries, cores):
    """Half of the rate that the plainest server reaches now, rounded to thousands."""
    kind, load = servers.BY_NAME["raw_epoll"], loads.BY_NAME["echo-c50"]
    rates = [servers.measure(binaries, kind, load, cores)["rate"] for _ in range(3)]
    return max(1000, round(statistics.median(rates) / 2000) * 1000)


class Rounds:
    """Measures loads for a set of servers, each load for itself."""

    def __init__(self, binaries, kinds, two_cores, seconds=None):
        self.binaries = binaries
        self.kinds = list(kinds)
        self.cores = (0, 1) if two_cores else (1, 1)
        self.two_cores = two_cores
        self.seconds = seconds
        self.limit_s = float("inf")  # of a load: beyond it, no more rounds than were asked for
        self.near_ns = min(self.__latency() for _ in range(PROBES)) if two_cores else None

    def __latency(self):
        return machine.core_latency_ns(str(self.binaries / "bench_cores"), (0, 1))

    def __steady(self, kind, load, extra):
        """One run; once more when the pace changed meanwhile."""
        for _ in range(TRIES):
            one = servers.measure(self.binaries, kind, load, self.cores, self.seconds, extra)
            if is_steady(one):
                break
        return one

    def __once(self, kinds, load, extra, failures):
        results = {}
        for kind in kinds:
            try:
                results[kind.name] = self.__steady(kind, load, extra)
                say(".", end="")
            except servers.NoMode:
                failures.setdefault(kind.name, "no such mode")
            except servers.Failed as why:
                failures[kind.name] = str(why)
                say("x", end="")
        return results

    def __moved(self, results, before, after):
        """Why a two-core round counts for nothing, or None."""
        if max(before, after) > MOVED_FACTOR * self.near_ns:
            return f"cores {before:.0f} and {after:.0f} ns apart, {self.near_ns:.0f} at best"
        idle = [name for name, one in results.items()
                if max(one["server_share"], one["client_share"]) < BUSY_MIN]
        return None if not idle or len(idle) == len(results) else f"idle: {', '.join(idle)}"

    def __round(self, kinds, load, extra, failures):
        if not self.two_cores:
            return self.__once(kinds, load, extra, failures), None
        before = self.__latency()
        results = self.__once(kinds, load, extra, failures)
        return results, self.__moved(results, before, self.__latency())

    def __enough(self, found, count):
        """Whether every server has so many pairs with the first of the bases."""
        names = {name for one in found for name in one}
        base = next((name for name in BASES if name in names), None)
        return len(found) >= count and all(len(pairs(found, name, base or name)) >= count
                                           for name in names)

    def __all(self, load, count, extra, failures, dropped):
        found, began = [], time.monotonic()
        for number in range(count * (ATTEMPTS_MAX + self.two_cores)):
            if number >= count and time.monotonic() - began > self.limit_s:
                break
            kinds = [kind for kind in self.kinds if failures.get(kind.name) != "no such mode"]
            order = kinds[::-1] if number % 2 else kinds
            results, why = self.__round(order, load, extra, failures)
            say("(dropped) " if why else "| ", end="")
            if why:
                dropped.append(why)
            elif results:
                found.append(results)
            if not found and not dropped or self.__enough(found, count):
                break
        return found

    def measure(self, load, count):
        """All rounds of a load: what bench/run keeps of it."""
        rate = half_peak(self.binaries, self.cores) if load.half_peak else None
        failures, dropped = {}, []
        say(f"{load.name}: ", end="")
        found = self.__all(load, count, ("--rate", rate) if rate else (), failures, dropped)
        say("")
        for name, why in failures.items():
            say(f"  {name}: {why}")
        return {"text": f"{load.text} ({rate} a second)" if rate else load.text,
                "unit": load.unit, "rounds": found, "dropped": dropped, "failures": failures,
                "load_average": machine.load_average(),
                "summary": summary(found, [kind.name for kind in self.kinds])}


def pace(one):
    return sum(one["pace_ns"]) / len(one["pace_ns"])


def is_steady(one):
    return max(one["pace_ns"]) <= PACE_FACTOR * min(one["pace_ns"])


def pairs(rounds, name, base):
    """The rounds in which both ran at one pace."""
    return [one for one in rounds if name in one and base in one
            and is_steady(one[name]) and is_steady(one[base])
            and 1 / PACE_FACTOR <= pace(one[name]) / pace(one[base]) <= PACE_FACTOR]


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(rounds, name, base, key):
    """The median over the pairs; None without any."""
    found = [one[name][key] / one[base][key] for one in pairs(rounds, name, base)
             if one[base][key]]
    return statistics.median(found) if found else None


def summary(rounds, names):
    found = {}
    for name in names:
        own = [one[name] for one in rounds if name in one]
        if not own:
            continue
        found[name] = {
            "rounds": len(own),
            "cpu_ns": spread([one["cpu_ns"] for one in own]),
            "rate": spread([one["rate"] for one in own]),
            "server_share": statistics.median(one["server_share"] for one in own),
            "client_share": statistics.median(one["client_share"] for one in own),
            "latency_ns": {point: statistics.median(one["latency_ns"][point] for one in own)
                           for point in own[0]["latency_ns"]},
        }
        for base in BASES:
            found[name][f"pairs_with_{base}"] = len(pairs(rounds, name, base))
            found[name][f"cpu_to_{base}"] = ratio(rounds, name, base, "cpu_ns")
            found[name][f"rate_to_{base}"] = ratio(rounds, name, base, "rate")
    return found
