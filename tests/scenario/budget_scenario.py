"""Hostile peers against a memory budget: slow readers, half messages, one byte a second, silence
and resets, all at once, for all they can get. What the engine has counted may never pass the
budget by more than one percent, the process's own memory has to follow, and good clients that were
there before are served all the while."""
import json
import pathlib
import re
import socket
import threading
import time

import pytest
import tool

MIB = 1 << 20
# peers, seconds, budget, bytes of a hostile message
FORM = (10_000, 40, 256 * MIB, 256 * 1024) if tool.LONG else (300, 3, 8 * MIB, 64 * 1024)
GOODS = 10
SEED = 20261121
PERCENT = 101
# What is in the process and not in the engine's account: the program and its libraries, and what
# the C library keeps of blocks below 128 KiB, in the short form nearly as much as the budget.
APART = 10 * MIB


def status_bytes(pid, name):
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024


def kernel_tcp_bytes():
    """What all sockets of this network namespace hold in the kernel."""
    text = pathlib.Path("/proc/net/sockstat").read_text(encoding="ascii")
    return int(re.search(r"^TCP:.* mem (\d+)", text, re.MULTILINE)[1]) * 4096


class Good(threading.Thread):
    """Echoes one message after the other, and compares."""

    def __init__(self, port, number):
        super().__init__(daemon=True)
        self.connection = tool.dial(port)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = number
        self.served, self.slowest, self.error = 0, 0, ""
        self.over = threading.Event()

    def echo(self, size):
        payload = bytes((self.number + i) % 251 for i in range(size))
        began = time.monotonic()
        tool.echo(self.connection, size.to_bytes(4, "big") + payload)
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.served += 1

    def run(self):
        try:
            while not self.over.wait(0.005):
                self.echo((self.served * 37 + self.number) % 2000)
        except (OSError, AssertionError) as wrong:
            self.error = f"good client {self.number} after {self.served}: {wrong}"

    def end(self):
        self.over.set()
        self.join(tool.LIMIT * 2)
        assert not self.is_alive(), f"good client {self.number} hangs"
        self.connection.close()


class Gauge(threading.Thread):
    """Looks at the process ten times a second, and at what it says of itself."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.counted, self.resident, self.kernel, self.looks = 0, 0, 0, 0
        self.last = {}
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.1):
            self.look()

    def look(self):
        self.resident = max(self.resident, status_bytes(self.server.process.pid, "VmRSS"))
        self.kernel = max(self.kernel, kernel_tcp_bytes())
        while not self.server.out.queue.empty():
            self.last = json.loads(self.server.out.next())
            self.counted = max(self.counted, self.last["memory_bytes"])
            self.looks += 1


def test_hostile_peers_never_pass_the_budget_and_good_clients_are_served(kind):
    peers, seconds, budget, message = FORM
    with tool.Server("--port-kind", kind, "--shards", 2, "--framing", "length",
                     "--memory-max", budget, "--socket-send-buf", "16k", "--stats", "100ms",
                     "--first-byte-timeout", "never", "--max-conns", peers + 100,
                     "--drain", "100ms") as server:
        goods = [Good(server.port, number) for number in range(GOODS)]
        for good in goods:
            good.echo(100)
        gauge = Gauge(server)
        before = status_bytes(server.process.pid, "VmRSS")
        kernel_before = kernel_tcp_bytes()
        for thread in [gauge, *goods]:
            thread.start()
        hostile = tool.run(tool.peer("hostile"), server.port, peers, seconds, message, SEED,
                           seconds=seconds + tool.LIMIT, capture_output=True, text=True)
        for good in goods:
            good.end()
        gauge.over.set()
        gauge.join(tool.LIMIT)
        gauge.look()
        with tool.dial(server.port) as newcomer:
            tool.echo(newcomer, b"\0\0\0\5hello")
        server.stop()
    print(f"{kind}: {peers} peers, {hostile.stdout.strip()}; budget {budget / MIB:.0f} MiB, "
          f"counted at most {gauge.counted / MIB:.1f}, resident {gauge.resident / MIB:.1f} "
          f"({before / MIB:.1f} before), sockets in the kernel "
          f"{(gauge.kernel - kernel_before) / MIB:.0f}; {sum(good.served for good in goods)} good "
          f"echoes, the slowest {max(good.slowest for good in goods):.2f} s")
    assert hostile.returncode == 0, hostile.stderr
    assert [good.error for good in goods if good.error] == []
    assert all(good.served > 20 for good in goods)
    assert gauge.looks > 10
    assert gauge.counted * 100 <= budget * PERCENT
    assert gauge.counted > budget // 2, "it was not hard"
    assert gauge.resident * 100 <= budget * PERCENT + APART * 100
