"""`serve` with limits for bytes a second: every byte comes back, and not before it may. That
something takes at least so long can't fail on a slow machine."""
import random
import socket
import time

import pytest
import tool

RATE = 40_000
BURST = RATE // 4


@pytest.mark.parametrize("limits", [("--conn-rate-in", RATE), ("--conn-rate-out", RATE)])
def test_one_client_gets_all_back_at_the_rate(limits, kind):
    data = random.Random(1).randbytes(25_000)
    with tool.Server("--port-kind", kind, "--shards", 1, *limits) as server:
        with tool.closing([tool.dial(server.port)]) as (client,):
            began = time.monotonic()
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            assert tool.receive(client, len(data) + 1) == data
            assert time.monotonic() - began >= (len(data) - BURST) / RATE - 0.01
        report = server.stop()
    assert report["bytes_in"] == report["bytes_out"] == len(data)


def test_clients_share_a_rate(kind):
    data = random.Random(2).randbytes(6_250)
    with tool.Server("--port-kind", kind, "--shards", 2, "--rate-out", RATE) as server:
        with tool.closing([tool.dial(server.port) for _ in range(4)]) as clients:
            began = time.monotonic()
            for client in clients:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
            for client in clients:
                assert tool.receive(client, len(data) + 1) == data
            assert time.monotonic() - began >= (4 * len(data) - BURST) / RATE - 0.01
