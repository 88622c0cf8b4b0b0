"""The programs of examples/, which are those of the README."""
import contextlib
import re
import select
import shutil
import signal
import socket
import subprocess
import threading

import pytest
import tool


def test_the_echo_server_and_the_client():
    address = f"127.0.0.1:{tool.free_port()}"
    server = subprocess.Popen([tool.BIN / "example_echo", address], stderr=subprocess.PIPE,
                              text=True)
    try:
        def client():
            return tool.run(tool.BIN / "example_client", address, capture_output=True, text=True)

        tool.wait_until(lambda: client().returncode == 0, "the client is served")
        assert client().stdout == "hello\n"
        server.send_signal(signal.SIGINT)
        assert server.wait(tool.LIMIT) == 0
        assert server.stderr.read() == ""
        refused = client()
        assert refused.returncode == 1
        assert refused.stderr.splitlines()[0] == "client: the connection could not be made"
        assert "refused" in refused.stderr
    finally:
        server.kill()


def test_the_echo_server_says_why_it_cannot_start():
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = tool.run(tool.BIN / "example_echo", address, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"echo: {address}: ") and "in use" in done.stderr


def test_the_messages_server():
    address = f"127.0.0.1:{tool.free_port()}"
    server = subprocess.Popen([tool.BIN / "example_messages", address], stderr=subprocess.PIPE,
                              text=True)
    host, port = address.split(":")

    def connect():
        try:
            return socket.create_connection((host, int(port)), timeout=tool.LIMIT)
        except ConnectionRefusedError:
            return None

    def frame(payload):
        return len(payload).to_bytes(4, "big") + payload

    def read_to_end(peer):
        received = b""
        while piece := peer.recv(4096):
            received += piece
        return received

    try:
        tool.wait_until(lambda: (peer := connect()) and not peer.close(), "it listens")
        with connect() as peer:
            for byte in frame(b"\x02\x05hello") + frame(b"\x01\x03abc"):
                peer.sendall(bytes([byte]))
            peer.sendall(b"\xff\xff\xff\xff garbage")
            assert read_to_end(peer) == frame(b"\x02olleh") + frame(b"\x01" + bytes(7) + b"\x03")
        with connect() as peer:
            peer.sendall(frame(b"\x01\x09short"))
            assert read_to_end(peer) == b""
        server.send_signal(signal.SIGINT)
        assert server.wait(tool.LIMIT) == 0
        told = server.stderr.read()
        assert told.count("\n") == 1 and told.endswith("a message longer than allowed\n"), told
    finally:
        server.kill()


def test_the_client_that_reconnects():
    address = f"127.0.0.1:{tool.free_port()}"
    client = subprocess.Popen([tool.BIN / "example_reconnect", address], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    try:
        out, err = tool.Lines(client.stdout), tool.Lines(client.stderr)
        assert err.next().startswith("the connection could not be made; again in ")
        for _ in range(2):
            server = subprocess.Popen([tool.BIN / "example_echo", address])
            try:
                while (said := err.next()) != "up\n":
                    assert "; again in " in said
                assert out.next() == "hello\n"
            finally:
                server.kill()
                server.wait(tool.LIMIT)
            assert "; again in " in err.next()
        client.send_signal(signal.SIGTERM)
        assert client.wait(tool.LIMIT) == 0
        assert err.text().endswith("ended\n")
    finally:
        client.kill()


@contextlib.contextmanager
def example(name):
    """The example serves; its port. It has to stop well."""
    port = tool.free_port()
    server = subprocess.Popen([tool.BIN / f"example_{name}", f"127.0.0.1:{port}"],
                              stderr=subprocess.PIPE, text=True)

    def answers():
        assert server.poll() is None, server.stderr.read()
        with contextlib.suppress(ConnectionRefusedError), tool.dial(port):
            return True

    try:
        tool.wait_until(answers, f"{name} listens")
        yield port
        server.send_signal(signal.SIGINT)
        assert server.wait(tool.LIMIT) == 0
        assert server.stderr.read() == ""
    finally:
        server.kill()
        server.wait(tool.LIMIT)
        server.stderr.close()


def read_all(connection):
    """To the end of the stream."""
    return tool.receive(connection, 1 << 30)


def expect(file, wanted):
    """Reads lines until this one comes."""
    while (line := file.readline()) != wanted:
        assert line, f"the stream ended before {wanted!r}"


def await_all(people, host):
    """What the host says reaches who is there already, and nobody else."""
    for one in people:
        while not select.select([one], [], [], 0.05)[0]:
            host.sendall(b"is everybody here?\n")


def test_the_chat_tells_everybody_else_each_line():
    count = 5
    with example("chat") as port, contextlib.ExitStack() as stack:
        people = [stack.enter_context(tool.dial(port)) for _ in range(count)]
        await_all(people, stack.enter_context(tool.dial(port)))
        files = [stack.enter_context(one.makefile("rb")) for one in people]
        for n, one in enumerate(people):
            one.sendall(b"/name guest%d\n" % n)
            one.sendall(b"here is %d\r\nand a se" % n)
            one.sendall(b"cond line\n")
        # each hears the four others, whatever the order among them
        for n, file in enumerate(files):
            wanted = {b"guest%d: %s" % (other, text) for other in range(count) if other != n
                      for text in (b"here is %d\n" % other, b"and a second line\n")}
            while wanted:
                line = file.readline()
                assert line, wanted
                assert not line.startswith(b"guest%d:" % n), "its own line came back"
                wanted.discard(line)
        people[0].sendall(b"x" * 5000)
        expect(files[0], b"line too long\n")
        people[1].sendall(b"last\n")
        for file in files[2:]:
            expect(file, b"guest1: last\n")


def test_jobs_answer_and_hold_up_nobody():
    with example("jobs") as port, tool.dial(port) as slow, tool.dial(port) as quick:
        slow.sendall(b"3000000\n")  # a second of work
        with tool.dial(port) as wrong:
            wrong.sendall(b"no\n")
            assert read_all(wrong) == b"a number up to 100000000, please\n"
        quick.sendall(b"10\n100\r\n")
        quick.sendall(b"1000\n")
        quick.shutdown(socket.SHUT_WR)
        assert sorted(read_all(quick).splitlines()) == [
            b"168 primes below 1000", b"25 primes below 100", b"4 primes below 10"]
        answer = b"216816 primes below 3000000\n"
        assert tool.receive(slow, len(answer)) == answer


def resp(*words):
    words = [word if isinstance(word, bytes) else word.encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def test_kv_answers_in_any_pieces_and_within_its_limits():
    value = bytes(range(256)) * 256
    talk = [
        (b"PING\r\n", b"+PONG\r\n"), (b"  ping  you \n", b"$3\r\nyou\r\n"), (b"\r\n", b""),
        (resp("set", "k", "v"), b"+OK\r\n"), (resp("GET", "k"), b"$1\r\nv\r\n"),
        (resp("SET", b"a\r\n", value), b"+OK\r\n"), (resp("SET", "empty", ""), b"+OK\r\n"),
        (resp("GET", b"a\r\n"), b"$65536\r\n" + value + b"\r\n"),
        (resp("GET", "empty"), b"$0\r\n\r\n"), (resp("GET", "none"), b"$-1\r\n"),
        (resp("DBSIZE"), b":3\r\n"), (resp("DEL", "k", "none", "empty"), b":2\r\n"),
        (resp("SET", "k" * 513, "v"), b"-ERR key or value too long\r\n"),
        (resp("SET", "k", b"v" * 65537), b"-ERR key or value too long\r\n"),
        (resp("FLY"), b"-ERR unknown command or wrong number of arguments\r\n"),
        (resp("GET"), b"-ERR unknown command or wrong number of arguments\r\n"),
        (b"*0\r\n", b""), (resp("ECHO", "x"), b"$1\r\nx\r\n"),
    ]
    asked, wanted = b"".join(a for a, _ in talk), b"".join(w for _, w in talk)
    with example("kv") as port:
        for piece in (len(asked), 1000, 7):
            with tool.dial(port) as client:
                writer = threading.Thread(target=lambda size=piece, to=client: [
                    to.sendall(asked[at:at + size]) for at in range(0, len(asked), size)])
                writer.start()
                assert tool.receive(client, len(wanted)) == wanted
                writer.join(tool.LIMIT)
                client.sendall(resp("DEL", b"a\r\n") + resp("QUIT"))
                assert read_all(client) == b":1\r\n+OK\r\n"
        for wrong in (b"*17\r\n", b"*-1\r\n", b"*x\r\n", b"*1\r\n:5\r\n", b"*1\r\n$9999999\r\n",
                      b"*1\r\n$1\r\nabc", b"x" * 1025, b"*1111111111111111111111111111111111"):
            with tool.dial(port) as client:
                client.sendall(wrong)
                assert read_all(client) == b"-ERR Protocol error\r\n", wrong


def test_kv_waits_for_a_client_that_asks_and_reads_nothing():
    """4,000 answers of 64 KiB are asked for at once: they may not lie in the server's memory."""
    count = 4000
    with example("kv") as port, tool.dial(port) as client:
        client.sendall(resp("SET", "k", b"v" * 65536))
        assert tool.receive(client, 5) == b"+OK\r\n"
        client.sendall(resp("GET", "k") * count)
        with tool.dial(port) as other:
            other.sendall(b"PING\r\n")
            assert tool.receive(other, 7) == b"+PONG\r\n"
        answer = b"$65536\r\n" + b"v" * 65536 + b"\r\n"
        for _ in range(count):
            assert tool.receive(client, len(answer)) == answer


@pytest.mark.skipif(not shutil.which("redis-benchmark"), reason="redis-benchmark is not installed")
@pytest.mark.parametrize("pipeline", [1, 16])
def test_kv_under_redis_benchmark(pipeline):
    requests = 200000 if tool.LONG else 5000
    with example("kv") as port:
        done = tool.run("redis-benchmark", "-p", port, "-t", "ping,set,get", "-n", requests, "-c",
                        20, "-r", 1000, "-d", 100, "-P", pipeline, "-q", capture_output=True,
                        text=True, seconds=tool.LIMIT * 2)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said[-500:]
        assert not re.search(r"error|warn|refused|reset|closed", said, re.I), said[-500:]
        rates = re.findall(r"(\w+): ([\d.]+) requests per second", said)
        assert [name for name, _ in rates] == ["PING_INLINE", "PING_MBULK", "SET", "GET"], said
        print(f"pipeline {pipeline}: " + ", ".join(f"{name} {rate}/s" for name, rate in rates))


@pytest.mark.skipif(not shutil.which("redis-cli"), reason="redis-cli is not installed")
def test_kv_with_redis_cli():
    with example("kv") as port:
        def cli(*words, stdin=None):
            return tool.run("redis-cli", "-p", port, *words, input=stdin, capture_output=True,
                            text=True).stdout

        assert cli("SET", "name", "two words") == "OK\n"
        assert cli("GET", "name") == "two words\n"
        assert cli(stdin="PING\nDEL name\nGET name\n") == "PONG\n1\n\n"


def iocps_frame(payload):
    return len(payload).to_bytes(4, "little") + payload


def test_iocps_talks_to_a_client_that_makes_its_frames_by_hand():
    """One package of each form, in two pieces at every place, and in one piece together."""
    def number(value):
        return value.to_bytes(4, "little")

    talk = [
        (b"\0hello\0", b"\0hello\0"), (b"\0\0", b"\0\0"), (b"\x03", b"\x03"),
        (b"\x01" + number(41) + b"two words\0", b"\x01" + number(42) + b"two words\0"),
        (b"\x01" + number(0xffffffff) + b"\0", b"\x01" + number(0) + b"\0"),
        (b"\x02" + number(7), b"\x02" + number(7)),
        (b"\x02" + number(7) + number(8), b"\x02" + number(8) + number(7)),
        (b"\x02" + number(7) + number(8) + number(9),
         b"\x02" + number(9) + number(8) + number(7)),
        (b"\x04" + number(5) + b"a\0b\0c", b"\x04" + number(5) + b"a\0b\0c"),
        (b"\x04" + number(503) + b"x" * 503, b"\x04" + number(503) + b"x" * 503),
    ]
    with example("iocps") as port:
        with tool.dial(port) as client:
            for asked, wanted in talk:
                asked, wanted = iocps_frame(asked), iocps_frame(wanted)
                for at in range(0, len(asked), max(1, len(asked) // 20)):
                    client.sendall(asked[:at])
                    client.sendall(asked[at:])
                    assert tool.receive(client, len(wanted)) == wanted
            client.sendall(b"".join(iocps_frame(asked) for asked, _ in talk))
            wanted = b"".join(iocps_frame(answer) for _, answer in talk)
            assert tool.receive(client, len(wanted)) == wanted
        wrong = [b"\0no zero", b"\x01\0\0", b"\x02", b"\x02" + bytes(16), b"\x03x",
                 b"\x04" + number(9) + b"short", b"\x05", b"\xff"]
        for message in [iocps_frame(one) for one in wrong] + [
                bytes(4), b"\xfd\x01\0\0", b"\xff\xff\xff\xff"]:
            with tool.dial(port) as client:
                client.sendall(iocps_frame(b"\x03") + message + iocps_frame(b"\x03"))
                assert read_all(client) == iocps_frame(b"\x03"), message


def test_commands_are_found_and_filtered():
    talk = [
        (b"ADD 1 2", b"LOGIN first"), (b"FLY", b"LOGIN first"),
        (b"login", b"a name of 1 to 23 bytes, please"),
        (b"LOGIN " + b"x" * 24, b"a name of 1 to 23 bytes, please"),
        (b"Login ann lee", b"welcome"), (b"ADD 1 2 39 ", b"42"), (b"add", b"0"),
        (b"ADD 1 x", b"numbers, please"), (b"say  hello", b"ann lee:  hello"),
        (b"SAY " + b"x" * 400, b"ann lee: " + b"x" * 400), (b"SAY " + b"x" * 401, b"too long"),
        (b"FLY", b"LOGIN, ADD, SAY or QUIT, please"), (b"QUIT", b"bye"),
    ]
    with example("commands") as port:
        with tool.dial(port) as client, client.makefile("rb") as file:
            for asked, wanted in talk:
                client.sendall(asked + b"\r\n")
                assert file.readline() == wanted + b"\n", asked
            assert file.readline() == b""
        with tool.dial(port) as client:
            client.sendall(b"QUIT\nQUIT\n")
            assert read_all(client) == b"bye\n"
        for wrong in (b"\n", b" ADD 1\n", b"x" * 501):
            with tool.dial(port) as client:
                client.sendall(b"login bob\n" + wrong)
                assert read_all(client) == b"welcome\n", wrong
