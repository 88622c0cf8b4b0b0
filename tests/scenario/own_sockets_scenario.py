"""Which sockets `sallyport serve` has: those of its arguments and of its clients, and no other.
They are the numbers in /proc/PID/fd, found again in the tables of /proc/PID/net (proc(5))."""
import os
import pathlib
import re
import socket
import subprocess

import pytest
import tool

TCP_ESTABLISHED, TCP_LISTEN = 1, 10
UNIX_LISTENS = 1 << 16  # flags in /proc/net/unix


def address(text):
    """"0100007F:138A" as the tool has it: words as they lie in memory, and a port."""
    digits, port = text.split(":")
    words = [int(digits[i:i + 8], 16).to_bytes(4, "little") for i in range(0, len(digits), 8)]
    if len(words) == 1:
        return f"{socket.inet_ntop(socket.AF_INET, words[0])}:{int(port, 16)}"
    return f"[{socket.inet_ntop(socket.AF_INET6, b''.join(words))}]:{int(port, 16)}"


def entries(pid, table):
    """(inode, kind, name) of each."""
    path = pathlib.Path(f"/proc/{pid}/net/{table}")
    for line in path.read_text().splitlines()[1:] if path.exists() else []:
        field = line.split()
        if table == "unix":
            listens = int(field[3], 16) & UNIX_LISTENS
            name = " ".join(field[7:])
            yield field[6], "listens" if listens else "connected", f"unix:{name}"
        else:
            states = {TCP_LISTEN: "listens", TCP_ESTABLISHED: "connected"}
            kind = states.get(int(field[3], 16), "other") if table.startswith("tcp") else "other"
            yield field[9], kind, address(field[1])


def sockets(pid):
    """{(kind, name)} of all; one in no table is told by its number."""
    numbers = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            continue
        if found:
            numbers.add(found[1])
    known = {}
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6", "unix", "netlink", "packet"):
        if table in ("netlink", "packet"):
            path = pathlib.Path(f"/proc/{pid}/net/{table}")
            lines = path.read_text().splitlines()[1:] if path.exists() else []
            known.update({line.split()[-1 if table == "packet" else 9]: ("other", table)
                          for line in lines})
        else:
            known.update({inode: (kind, name) for inode, kind, name in entries(pid, table)})
    return sorted(known.get(number, ("other", f"socket {number}")) for number in numbers)


def has_exactly(server, listens, connected=0):
    """Waits for what is still to come or to go."""
    def now():
        return sockets(server.process.pid)

    def fits():
        found = now()
        names = [name for kind, name in found if kind == "listens"]
        others = [kind for kind, _ in found if kind != "listens"]
        return names == sorted(listens) and others == ["connected"] * connected

    try:
        tool.wait_until(fits, "exactly the sockets asked for", seconds=20)
    except AssertionError as error:
        told = f"{error}: {listens}, {connected} clients; there are {now()}"
        raise AssertionError(told) from None


def test_what_is_open_is_seen(tmp_path):
    """Else the others would hold for any program."""
    before = sockets(os.getpid())
    with socket.create_server(("127.0.0.1", 0)) as listener, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, \
            socket.socket(socket.AF_UNIX) as path, socket.socket() as unbound, \
            tool.dial(listener.getsockname()[1]) as client:
        datagrams.bind(("127.0.0.1", 0))
        path.bind(str(tmp_path / "socket"))
        path.listen()
        found = [one for one in sockets(os.getpid()) if one not in before]
        inode = os.fstat(unbound.fileno()).st_ino
        assert found == sorted([
            ("listens", "127.0.0.1:%d" % listener.getsockname()[1]),
            ("listens", f"unix:{tmp_path}/socket"),
            ("other", "127.0.0.1:%d" % datagrams.getsockname()[1]),
            ("connected", "127.0.0.1:%d" % client.getsockname()[1]),
            ("other", f"socket {inode}")])
    assert sockets(os.getpid()) == before


def test_the_arguments_are_all_that_listens(kind, shards, tmp_path):
    listen = ["127.0.0.1:0", "127.0.0.2:0", f"unix:{tmp_path}/socket",
              f"unix:@sallyport-own-{os.getpid()}"]
    if tool.has_ipv6():
        listen.append("[::1]:0")
    with tool.Server("--port-kind", kind, "--shards", shards, "--accept-with-data", "127.0.0.1:0",
                     listen=listen) as server:
        listening = server.start["listening"] + server.start["listening_for_data"]
        assert len(listening) == len(listen) + 1
        has_exactly(server, listening)
        with tool.dial(server.port) as client:
            tool.echo(client)
            has_exactly(server, listening, connected=1)
        has_exactly(server, listening)


def test_all_addresses_are_one_socket(kind):
    with tool.Server("--port-kind", kind, "--shards", 2, listen=["*:0"]) as server:
        assert len(server.start["listening"]) == 1
        port = server.start["listening"][0].rsplit(":", 1)[1]
        has_exactly(server, [f"[::]:{port}" if tool.has_ipv6() else f"0.0.0.0:{port}"])


def test_without_arguments_it_listens_on_loopback(kind):
    """Port 5002 may be somebody else's at the moment: then the refusal names the address."""
    process = subprocess.Popen([tool.TOOL, "serve", "--json", "--port-kind", kind],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    try:
        if not process.stdout.readline():
            told = process.stderr.read()
            assert "127.0.0.1:5002" in told and "in use" in told
            pytest.skip("127.0.0.1:5002 is in use")
        assert sockets(process.pid) == [("listens", "127.0.0.1:5002")]
        process.terminate()
        assert process.wait(tool.LIMIT) == 0
    finally:
        process.kill()
        process.communicate()
