"""What an idle connection costs: 15,000 of them, each of which has sent and received, at most 512
bytes of the process's own memory each."""
import resource
import subprocess

import pytest
import tool

CONNECTIONS = 15_000
BYTES_EACH = 512


def test_memory_of_an_idle_connection(kind, shards):
    needed = CONNECTIONS * 10 // 9 + 100  # the server keeps some back
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < needed:
        pytest.skip(f"the hard descriptor limit is {hard}, this needs {needed}")
    with tool.Server("--port-kind", kind, "--shards", shards, "--first-byte-timeout", "never",
                     "--idle-timeout", "never", descriptors=needed) as server:
        assert server.start["conns_max"] >= CONNECTIONS
        # What a server needs once (first buffers, stacks) is not what a connection needs.
        for _ in range(8):
            with tool.dial(server.port) as client:
                tool.echo(client)
                tool.finish(client)
        before = server.resident_bytes()
        idle = subprocess.Popen([tool.peer("idle"), str(server.port), str(CONNECTIONS)],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                preexec_fn=lambda: resource.setrlimit(
                                    resource.RLIMIT_NOFILE, (needed, needed)))
        try:
            line = tool.Lines(idle.stdout).next(tool.LIMIT * 2)
            assert line == f"{CONNECTIONS} served\n", line
            after = server.resident_bytes()
            each = (after - before) / CONNECTIONS
            print(f"{kind}, {shards} shards: {each:.0f} bytes each "
                  f"({before >> 10} KiB before, {after >> 10} KiB after)")
            assert each <= BYTES_EACH
            with tool.dial(server.port) as client:
                tool.echo(client)
            idle.stdin.close()
            assert idle.wait(tool.LIMIT) == 0
        finally:
            idle.kill()
        report = server.stop()
    assert report["accepted"] == CONNECTIONS + 9
