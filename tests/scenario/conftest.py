"""Every scenario that asks for `kind` and `shards` runs with each. Where io_uring is refused, its
half is skipped by name."""
import subprocess

import pytest
import tool


def uring_refusal():
    """"" when a server on io_uring starts here, else what the tool says."""
    try:
        with tool.Server("--port-kind", "uring", "--shards", "1"):
            return ""
    except AssertionError as refused:
        return str(refused).strip()


REFUSAL = []


@pytest.fixture(params=["uring", "epoll"])
def kind(request):
    if request.param == "uring":
        if not REFUSAL:
            REFUSAL.append(uring_refusal())
        if REFUSAL[0]:
            if "SALLY_ENOPORT" not in REFUSAL[0]:
                pytest.fail(f"io_uring: {REFUSAL[0]}")
            pytest.skip(f"io_uring can't be used here: {REFUSAL[0]}")
    return request.param


@pytest.fixture(params=[1, 2])
def shards(request):
    return request.param


@pytest.fixture
def server(kind, shards):
    """A server with defaults, stopped and judged at the end."""
    with tool.Server("--port-kind", kind, "--shards", shards) as running:
        assert running.start["port"] == kind
        assert running.start["shards"] == shards
        yield running


def pytest_report_header():
    done = subprocess.run([tool.TOOL, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.replace("\n", "; ")
