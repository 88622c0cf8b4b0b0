"""Starts that can't succeed: one sentence that says what to do, the right exit status, and nothing
left behind."""
import errno
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess

import pytest
import tool


def serve(*options, wrap=(), prepare=None, env=None):
    return subprocess.run([*wrap, tool.TOOL, "serve", *options], capture_output=True, text=True,
                          timeout=tool.LIMIT, check=False, preexec_fn=prepare,
                          env={**os.environ, **(env or {})})


def judge(done, status, *words):
    """One line on standard error with all the words, and nothing on standard output."""
    assert done.returncode == status, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("sallyport: ")
    for word in words:
        assert word in lines[0], lines[0]


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", "127.0.0.1:70000", "127.0.0.1:x", "",
                                     "[::1:5002", "300.0.0.1:5002", "unix:", "unix:" + "x" * 200,
                                     "fd:x", "fd:99999", "127.0.0.1:-1", "127.0.0.1:5002x"])
def test_bad_address(address, kind):
    done = serve("--listen", address, "--port-kind", kind)
    judge(done, 1, "can't listen on", address)
    assert re.search(r"SALLY_(EADDRESS|EINVAL|ENONAME)", done.stderr), done.stderr


def test_address_of_another_machine(kind):
    judge(serve("--listen", "192.0.2.1:0", "--port-kind", kind), 1, "192.0.2.1:0",
          "SALLY_EADDRNOTAVAIL", "not one of this machine")


def test_port_in_use(kind):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        judge(serve("--listen", address, "--port-kind", kind), 1, address, "in use",
              "SALLY_EADDRINUSE")


def test_second_address_in_use_leaves_nothing(kind, tmp_path):
    path = tmp_path / "socket"
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        judge(serve("--listen", f"unix:{path}", "--listen", address, "--port-kind", kind), 1,
              address, "SALLY_EADDRINUSE")
    assert not path.exists()


def drop_rights():
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def reachable(path):
    """Whether somebody without rights can run it."""
    return all(os.stat(part).st_mode & 0o005 == 0o005
               for part in [path, *pathlib.Path(path).resolve().parents])


@pytest.fixture
def tool_for_all(tmp_path_factory, monkeypatch):
    """The tool where a user without rights can run it."""
    if os.getuid() != 0 or reachable(tool.TOOL):
        yield
        return
    folder = pathlib.Path("/var/tmp") / f"sallyport-{os.getpid()}"
    folder.mkdir(mode=0o755)
    copy = folder / "sallyport"
    copy.write_bytes(pathlib.Path(tool.TOOL).read_bytes())
    copy.chmod(0o755)
    monkeypatch.setattr(tool, "TOOL", str(copy))
    yield
    copy.unlink()
    folder.rmdir()


def first_open_port():
    path = pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    return int(path.read_text()) if path.exists() else 1024


def test_privileged_port(kind, tool_for_all):
    if first_open_port() <= 81:
        pytest.skip("this system lets everybody listen on port 81")
    judge(serve("--listen", "127.0.0.1:81", "--port-kind", kind, prepare=drop_rights), 1,
          "127.0.0.1:81", "permission", "SALLY_EACCES")


def test_unix_socket_in_a_forbidden_folder(kind, tool_for_all, tmp_path):
    tmp_path.chmod(0o755)
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    judge(serve("--listen", f"unix:{folder}/socket", "--port-kind", kind, prepare=drop_rights), 1,
          "permission", "SALLY_EACCES")


def test_unix_socket_in_no_folder(kind, tmp_path):
    done = serve("--listen", f"unix:{tmp_path}/none/socket", "--port-kind", kind)
    judge(done, 1, "can't listen on")


@pytest.mark.parametrize("limit", range(4, 24, 2))
def test_descriptor_limit_too_low(kind, limit):
    """However few there are: it starts and can serve, or it says so."""
    try:
        with tool.Server("--port-kind", kind, "--shards", 2, descriptors=limit) as server:
            with tool.dial(server.port) as client:
                tool.echo(client)
    except AssertionError as refused:
        assert "did not start" in str(refused), refused
        done = serve("--listen", "127.0.0.1:0", "--port-kind", kind, "--shards", "2",
                     prepare=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
        judge(done, 1, "descriptor limit", str(limit))
    else:
        assert limit > 8, "served with so few descriptors?"


def test_a_port_of_another_system():
    judge(serve("--port-kind", "iocp"), 1, "completion ports", "SALLY_ENOPORT")


@pytest.mark.parametrize("options", [
    ["--nonsense"], ["-x"], ["argument"], ["--listen"], ["--shards", "65"], ["--shards", "-1"],
    ["--shards", "two"], ["--port-kind", "kqueue"], ["--port-kind", ""], ["--max-conns", "0"],
    ["--idle-timeout", "5"], ["--idle-timeout", "5 s"], ["--idle-timeout", "0s"],
    ["--idle-timeout", "99999999h"], ["--drain", "never"], ["--send-max", "4x"],
    ["--send-max", "1k"], ["--send-max", "4t"], ["--at-limit", "drop"], ["--log-level", "all"],
    ["--json=yes"], ["--stats", "0"], ["--backlog", "0"], ["--max-conns", "99999999999999999999"],
    ["--listen", "127.0.0.1:0"] * 65])
def test_wrong_usage(options):
    done = serve(*options)
    judge(done, 2)
    assert "try 'sallyport serve --help'" in done.stderr or "leave some out" in done.stderr


def test_wrong_subcommand():
    for arguments, word in ((["nonsense"], "nonsense"), (["--nonsense"], "--nonsense")):
        done = subprocess.run([tool.TOOL, *arguments], capture_output=True, text=True, check=False,
                              timeout=tool.LIMIT)
        assert done.returncode == 2 and word in done.stderr and done.stdout == ""
    done = subprocess.run([tool.TOOL], capture_output=True, text=True, check=False,
                          timeout=tool.LIMIT)
    assert done.returncode == 2 and "Usage" in done.stderr


def test_help_and_version():
    for arguments in (["--help"], ["--version"], ["serve", "--help"]):
        done = subprocess.run([tool.TOOL, *arguments], capture_output=True, text=True, check=False,
                              timeout=tool.LIMIT)
        assert done.returncode == 0 and done.stderr == "" and "sallyport" in done.stdout
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([tool.TOOL, *arguments], stdout=full, stderr=subprocess.PIPE,
                                  text=True, check=False, timeout=tool.LIMIT)
        assert done.returncode == 1 and "standard output" in done.stderr


REFUSALS = [errno.EPERM, errno.ENOSYS, errno.ENOMEM]


@pytest.mark.parametrize("code", REFUSALS, ids=[errno.errorcode[c] for c in REFUSALS])
def test_uring_refused_and_forced_is_an_error(code):
    done = serve("--listen", "127.0.0.1:0", "--port-kind", "uring",
                 wrap=(tool.peer("no_uring"), str(code)))
    assert done.returncode == 1 and done.stdout == "", done
    assert "SALLY_ENOPORT" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("code", REFUSALS, ids=[errno.errorcode[c] for c in REFUSALS])
def test_uring_refused_means_epoll_with_one_line_of_log(code):
    with tool.Server(wrap=(tool.peer("no_uring"), str(code))) as server:
        assert server.start["port"] == "epoll"
        assert "io_uring" in server.start["port_reason"], server.start
        with tool.dial(server.port) as client:
            tool.echo(client)
        server.stop()
    lines = server.err.text().splitlines()
    assert len(lines) == 1 and "io_uring" in lines[0] and "epoll" in lines[0], lines


def test_environment_takes_the_port():
    with tool.Server(env={"SALLY_PORT": "epoll"}) as server:
        assert server.start["port"] == "epoll"
        assert "SALLY_PORT" in server.start["port_reason"], server.start


def test_killed_by_nothing_else(kind):
    """A peer that has gone must not end the server by SIGPIPE."""
    with tool.Server("--port-kind", kind) as server:
        for _ in range(20):
            client = tool.dial(server.port)
            client.sendall(b"x" * 200_000)
            client.close()
        assert server.process.poll() is None
        server.signal(signal.SIGPIPE)
        with tool.dial(server.port) as client:
            tool.echo(client)
