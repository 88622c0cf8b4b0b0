"""Connections that are reset at once, in their thousands, with good clients between them: every
good client is served, and the server is afterwards what it was before."""
import json

import pytest
import tool

STORM = 200_000 if tool.LONG else 20_000


@pytest.mark.parametrize("threads", [1, 4])
def test_every_good_client_is_served(server, threads):
    before = server.descriptors()
    done = tool.run(tool.peer("rst_storm"), server.port, STORM, threads, capture_output=True,
                    text=True, seconds=tool.LIMIT * (5 if tool.LONG else 2))
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    print(result)
    assert result["reset"] >= STORM
    assert result["good_served"] == result["good"] > STORM // 100
    tool.wait_until(lambda: server.descriptors() <= before, "every descriptor given back")
    for _ in range(100):
        with tool.dial(server.port) as client:
            tool.echo(client)
