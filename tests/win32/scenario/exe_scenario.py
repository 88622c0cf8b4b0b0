"""What `sallyport serve` has to keep on Windows too, by the scenarios of Linux."""
import contextlib
import os
import pathlib
import resource
import shutil
import socket
import subprocess
import sys
import time

import descriptors_scenario
import pytest
import redis_scenario
import rst_storm_scenario
import tool
from half_close_scenario import (  # noqa: F401
    payload, test_all_bytes_come_back_after_half_close,
    test_bytes_after_the_peers_end_are_those_before_it)
from redis_scenario import test_redis_benchmark  # noqa: F401
from rst_storm_scenario import test_every_good_client_is_served  # noqa: F401
from silent_scenario import (  # noqa: F401
    many_descriptors, test_silent_clients_are_no_connections,
    test_silent_clients_keep_nobody_waiting)
from stop_scenario import (  # noqa: F401
    test_a_second_signal_cuts, test_drain_first_sends_what_is_queued,
    test_no_newcomer_is_served_during_the_drain, test_sigterm_lets_connections_finish,
    test_statistics_lines, test_stop_without_connections,
    test_the_drains_time_cuts, test_the_port_is_free_afterwards, test_time_limits_close)

CYCLES = 20_000 if tool.LONG else 1_000
DESCRIPTORS, CLIENTS = (1024, 1500) if tool.LONG else (500, 600)
QUIET_S = 2  # nobody new is served for so long
OLD, NEW, STAY = 50, 50, 100
# The machine's own limit in the long form.
SOCKETS = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 20_000) if tool.LONG else 600
# Every call of the server costs several of Wine's one server, so the short form is shorter here;
# the long one has 100,000 requests of 50 clients.
redis_scenario.PING_REQUESTS = {1: 500, 50: 5_000, 1000: 4_000}
redis_scenario.ECHO_REQUESTS = {1: 100, 50: 500, 1000: 1_000}
rst_storm_scenario.STORM = 20_000 if tool.LONG else 4_000


def test_connect_and_close_in_cycles(server):
    before = server.descriptors()
    for number in range(CYCLES):
        with tool.dial(server.port) as client:
            tool.echo(client, b"%08d" % number)
    tool.wait_until(lambda: server.descriptors() <= before, "every descriptor given back")
    report = server.stop()
    assert report["accepted"] == CYCLES
    assert report["bytes_in"] == report["bytes_out"] == 8 * CYCLES


def left(clients, gone):
    return [client for client in clients if client not in gone]


@contextlib.contextmanager
def small_wine(folder, descriptors):
    """Sockets are the Wine server's, so it needs the limit: one of its own, whose prefix shares the
    files of the build's. Gives its process and the environment of its clients."""
    ready = pathlib.Path(os.environ["WINEPREFIX"])
    prefix = folder / "prefix"
    prefix.mkdir()
    for name in ("drive_c", "dosdevices"):
        (prefix / name).symlink_to(ready / name)
    for name in ("system.reg", "user.reg", "userdef.reg", ".update-timestamp"):
        shutil.copy(ready / name, prefix / name)
    env = {"WINEPREFIX": str(prefix)}
    limit = (descriptors, descriptors)
    wine = subprocess.Popen(
        ["wineserver", "-f", "-p60"], env={**os.environ, **env}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit))
    try:
        # not before it listens: the program would start a server of its own, without the limit
        place = pathlib.Path(f"/proc/{wine.pid}/cwd")
        tool.wait_until(lambda: "/server-" in os.readlink(place) and (place / "socket").exists(),
                        "Wine's server listens")
        subprocess.run(["wine", "cmd", "/c", "exit"], env={**os.environ, **env}, timeout=tool.LIMIT,
                       check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        yield wine, env
    finally:
        wine.terminate()
        wine.wait(tool.LIMIT)


def ticks(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_without_descriptors_it_waits_and_goes_on_by_itself(shards, tmp_path):
    """A hard limit below what comes (S4-8): accepting fails, pauses without turning, and goes on
    when others leave."""
    with many_descriptors(CLIENTS), small_wine(tmp_path, DESCRIPTORS) as (wine, env), \
            tool.Server("--shards", shards, "--max-conns", CLIENTS, "--first-byte-timeout", "never",
                        "--idle-timeout", "never", env=env) as server:
        with tool.closing(descriptors_scenario.connect_all(server.port, CLIENTS)) as clients:
            first = set()
            while now := descriptors_scenario.served(left(clients, first), QUIET_S):
                first |= now
            assert 0 < len(first) < CLIENTS, f"{len(first)} of {CLIENTS} were served"
            before = server.cpu_ticks() + ticks(wine.pid)
            time.sleep(2)
            busy = server.cpu_ticks() + ticks(wine.pid) - before
            print(f"{len(first)} served; ticks of the CPU in 2 s while full: {busy} of 200")
            assert busy < 40, "the server turns while it is full"
            for client in first:
                client.close()
            rest = left(clients, first)
            began = time.monotonic()
            while rest:
                now = descriptors_scenario.served(rest[:100], tool.LIMIT)
                assert len(now) == len(rest[:100])
                for client in now:
                    client.close()
                rest = left(rest, now)
            print(f"the rest served in {time.monotonic() - began:.2f} s")


class Holder:
    """A process with connections; see holder.py."""

    def __init__(self, port):
        self.process = subprocess.Popen(
            [sys.executable, pathlib.Path(__file__).with_name("holder.py"), str(port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answers = tool.Lines(self.process.stdout)

    def close(self):
        self.process.stdin.close()
        self.process.wait(tool.LIMIT)

    def tell(self, name, count):
        self.process.stdin.write(f"{name} {count}\n")
        self.process.stdin.flush()

    def heard(self, seconds=4 * tool.LIMIT):
        assert self.answers.next(seconds) == "done\n"

    def do(self, name, count):
        self.tell(name, count)
        self.heard()


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def wait_until_full(pid):
    """Wine's server has a descriptor for each socket; how many it has when it gets no more."""
    most = 0
    while (now := descriptors(pid)) > most:
        most = now
        time.sleep(QUIET_S / 2)
    return most


@pytest.mark.parametrize("shards", [1, 2] if tool.LONG else [2])
def test_out_of_sockets_the_old_are_served_and_the_new_later(shards, tmp_path):
    """More clients than there are sockets (S4-8): those there are go on being served (S4-27),
    nothing turns, and when most have left new ones are served without anybody's help."""
    leave = SOCKETS - 2 * STAY  # Wine itself has 266, so not all of them get a socket
    with many_descriptors(SOCKETS - 1000), small_wine(tmp_path, SOCKETS) as (wine, env), \
            tool.Server("--shards", shards, "--max-conns", 2 * SOCKETS, "--first-byte-timeout",
                        "never", "--idle-timeout", "never", env=env) as server, \
            tool.closing([Holder(server.port) for _ in range(3)]) as (old, leaving, staying):
        old.do("connect", OLD)
        old.do("echo", OLD)
        began = time.monotonic()
        leaving.do("connect", leave)
        staying.do("connect", STAY)
        full = wait_until_full(wine.pid)
        print(f"{time.monotonic() - began:.1f} s until full: {full} descriptors of Wine's server")
        assert SOCKETS - 50 <= full <= SOCKETS

        before = server.cpu_ticks() + ticks(wine.pid)
        time.sleep(2)
        busy = server.cpu_ticks() + ticks(wine.pid) - before
        began = time.monotonic()
        old.do("echo", OLD)
        print(f"ticks of the processors in 2 s while full: {busy} of 200; {OLD} old clients served "
              f"in {time.monotonic() - began:.3f} s")

        leaving.do("close", leave)
        began = time.monotonic()
        old.do("connect", NEW)
        old.do("echo", OLD + NEW)
        print(f"{NEW} new and the old ones served {time.monotonic() - began:.3f} s after "
              f"{leave} had left")
        staying.do("echo", STAY)  # who had to wait
        assert server.stop()["accepted"] <= OLD + NEW + STAY + leave


def test_stop_under_traffic(shards):
    """Clients that never stop sending: their bytes are dropped, nothing hangs. As on Linux, but
    each has an answer first: Wine may take long to accept twenty."""
    with tool.Server("--shards", shards, "--drain", "500ms") as server:
        with tool.closing([tool.dial(server.port) for _ in range(20)]) as clients:
            for client in clients:
                tool.echo(client)
                client.setblocking(False)
            for turn in range(200):
                for client in clients:
                    try:
                        client.send(b"y" * 65536)
                    except BlockingIOError:
                        pass
                    except OSError:
                        assert turn > 100
                if turn == 100:
                    server.signal()
            report = server.wait()
    assert report["conns"] == 20


def test_a_second_server_on_the_address_is_refused(server):
    with pytest.raises(AssertionError, match="SALLY_EADDRINUSE"):
        tool.Server(listen=[f"127.0.0.1:{server.port}"])
    with socket.create_connection(("127.0.0.1", server.port), timeout=tool.LIMIT) as client:
        tool.echo(client)
