"""redis-benchmark against the echo: a RESP request that comes back is a valid reply. It never gives
up on a refused port, so each run is under `timeout`."""
import re
import shutil

import pytest
import tool

SCALE = 20 if tool.LONG else 1
PING_REQUESTS = {1: 4000, 50: 20000, 1000: 20000}
ECHO_REQUESTS = {1: 300, 50: 1500, 1000: 2000}
ECHO_BYTES = 64 * 1024
# What one request costs on the wire at least.
PING_BYTES = len(b"*1\r\n$4\r\nPING\r\n")


@pytest.mark.skipif(not shutil.which("redis-benchmark"), reason="redis-benchmark is not installed")
@pytest.mark.parametrize("pipeline", [1, 16])
@pytest.mark.parametrize("clients", [1, 50, 1000])
@pytest.mark.parametrize("what", ["ping_mbulk", "echo_64k"])
def test_redis_benchmark(what, clients, pipeline, kind, shards):
    ping = what == "ping_mbulk"
    requests = (PING_REQUESTS if ping else ECHO_REQUESTS)[clients] * SCALE
    if ping:  # enough that all have connected before the last reply
        requests = max(requests, clients * pipeline * 5 // 4)
    command = ["redis-benchmark", "-h", "127.0.0.1", "-c", clients, "-P", pipeline, "-n", requests]
    with tool.Server("--port-kind", kind, "--shards", shards) as server:
        command += ["-p", server.port]
        command += ["-t", "ping_mbulk", "-q"] if ping else ["-q", "ECHO", "x" * ECHO_BYTES]
        done = tool.run(*command, capture_output=True, text=True,
                        seconds=tool.LIMIT * (10 if tool.LONG else 1))
        assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]
        assert not re.search(r"error|refused|reset|closed", done.stdout + done.stderr, re.I), \
            done.stdout[-500:] + done.stderr[-500:]
        rate = re.findall(r"([\d.]+) requests per second", done.stdout)
        assert rate, done.stdout[-500:]
        print(f"{what}: {clients} clients, pipeline {pipeline}: {rate[-1]} requests/s")
        report = server.stop()
    assert report["accepted"] >= clients
    least = requests * (PING_BYTES if ping else ECHO_BYTES)
    assert report["bytes_in"] >= least
    assert report["bytes_out"] >= least
