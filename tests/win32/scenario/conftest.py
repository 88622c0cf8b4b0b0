"""The tool of Windows under Wine, driven by the same clients: scenarios of tests/scenario run here
with another way to start and to stop the server.

WINE_TOOL names sallyport.exe; SALLYPORT_BIN the folder with the clients that are Linux programs.
"""
import os
import pathlib
import queue
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scenario"))
import tool  # noqa: E402

SERVER = tool.Server


class WineServer(SERVER):
    """Wine becomes the program by exec, so its pid is the server's. Of the signals it makes a
    control event of SIGINT only; SIGTERM would end the process as a power cut does."""

    def __init__(self, *options, wrap=(), **more):
        options = list(map(str, options))
        tool.TOOL = os.environ["WINE_TOOL"]
        try:
            super().__init__(*options, wrap=[*wrap, "wine"], **more)
        except queue.Empty:  # under Wine also its loader may be what hangs
            self.process.kill()
            raise AssertionError(f"said nothing in {tool.LIMIT} s: {self.err.text()}") from None

    def __exit__(self, kind, *rest):
        if kind is not None:
            print(f"the server's exit status is {self.process.poll()}, on its standard error:\n"
                  + "".join(self.err.all))
        super().__exit__(kind, *rest)

    def signal(self, number=signal.SIGINT):
        super().signal(signal.SIGINT)


tool.Server = WineServer


@pytest.fixture
def kind():
    return "iocp"


@pytest.fixture(params=[1, 2])
def shards(request):
    return request.param


@pytest.fixture
def server(shards):
    with tool.Server("--shards", shards) as running:
        assert running.start["port"] == "iocp"
        yield running
