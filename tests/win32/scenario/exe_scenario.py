"""What `sallyport serve` has to keep on Windows too, by the scenarios of Linux."""
import resource
import socket

import pytest
import redis_scenario
import rst_storm_scenario
import tool
from half_close_scenario import (  # noqa: F401
    payload, test_all_bytes_come_back_after_half_close,
    test_bytes_after_the_peers_end_are_those_before_it)
from redis_scenario import test_redis_benchmark  # noqa: F401
from rst_storm_scenario import test_every_good_client_is_served  # noqa: F401
from stop_scenario import (  # noqa: F401
    test_a_second_signal_cuts, test_drain_first_sends_what_is_queued,
    test_no_newcomer_is_served_during_the_drain, test_sigterm_lets_connections_finish,
    test_statistics_lines, test_stop_without_connections,
    test_the_drains_time_cuts, test_the_port_is_free_afterwards, test_time_limits_close)

CYCLES = 20_000 if tool.LONG else 1_000
SILENT = 5_000 if tool.LONG else 300
GOOD = 100
FIRST_BYTE = "30s" if tool.LONG else "5s"
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


def test_silent_clients_keep_nobody_waiting(shards):
    """Those who say nothing are many; who speaks is served within a second, and the silent ones are
    cut in their time although nobody new comes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < SILENT + 2000:
        pytest.skip(f"the hard descriptor limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with tool.Server("--shards", shards, "--first-byte-timeout", FIRST_BYTE) as server:
            with tool.closing([tool.dial(server.port) for _ in range(SILENT)]) as silent:
                for _ in range(GOOD):
                    with tool.dial(server.port, seconds=1) as client:
                        tool.echo(client)
                for client in silent:
                    try:
                        assert client.recv(1) == b""
                    except ConnectionResetError:
                        pass
            report = server.stop()
            assert report["accepted"] == SILENT + GOOD
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


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
