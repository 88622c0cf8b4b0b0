"""Rounds: every server once, in an order that is reversed every other time, so that a machine that
slowly changes does so for all of them alike. Ratios are taken inside of a round."""
import statistics
import sys

from . import loads, machine, servers

# A probe this much slower than the best of those before the first round: the cores have moved.
MOVED_FACTOR = 1.5
PROBES = 9
BUSY_MIN = 0.9
ATTEMPTS_MAX = 3  # of a two-core round, for each that is wanted


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
        self.near_ns = min(self.__latency() for _ in range(PROBES)) if two_cores else None

    def __latency(self):
        return machine.core_latency_ns(str(self.binaries / "bench_cores"), (0, 1))

    def __once(self, kinds, load, extra, failures):
        results = {}
        for kind in kinds:
            try:
                results[kind.name] = servers.measure(self.binaries, kind, load, self.cores,
                                                     self.seconds, extra)
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

    def measure(self, load, count):
        """All rounds of a load: what bench/run keeps of it."""
        rate = half_peak(self.binaries, self.cores) if load.half_peak else None
        extra = ("--rate", rate) if rate else ()
        kept, dropped, failures = [], [], {}
        attempts = count * (ATTEMPTS_MAX if self.two_cores else 1)
        say(f"{load.name}: ", end="")
        for number in range(attempts):
            kinds = [kind for kind in self.kinds if failures.get(kind.name) != "no such mode"]
            order = kinds[::-1] if number % 2 else kinds
            results, why = self.__round(order, load, extra, failures)
            say("| " if not why else "(dropped) ", end="")
            if why:
                dropped.append(why)
            else:
                kept.append(results)
            if len(kept) == count:
                break
        say("")
        for name, why in failures.items():
            say(f"  {name}: {why}")
        text = f"{load.text} ({rate} a second)" if rate else load.text
        return {"text": text, "unit": load.unit, "rounds": kept, "dropped": dropped,
                "failures": failures, "load_average": machine.load_average(),
                "summary": summary(kept)}


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(rounds, name, base, key):
    """The median over the rounds in which both are; None without any."""
    pairs = [one[name][key] / one[base][key] for one in rounds
             if name in one and base in one and one[base][key]]
    return statistics.median(pairs) if pairs else None


def summary(rounds):
    names = {name: None for one in rounds for name in one}
    found = {}
    for name in names:
        own = [one[name] for one in rounds if name in one]
        found[name] = {
            "rounds": len(own),
            "cpu_ns": spread([one["cpu_ns"] for one in own]),
            "rate": spread([one["rate"] for one in own]),
            "server_share": statistics.median(one["server_share"] for one in own),
            "client_share": statistics.median(one["client_share"] for one in own),
            "latency_ns": {point: statistics.median(one["latency_ns"][point] for one in own)
                           for point in own[0]["latency_ns"]},
        }
        for base in ("raw_epoll", "raw_uring"):
            found[name][f"cpu_to_{base}"] = ratio(rounds, name, base, "cpu_ns")
            found[name][f"rate_to_{base}"] = ratio(rounds, name, base, "rate")
    return found
