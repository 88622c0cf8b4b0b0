"""What every scenario uses: the tool as a child process, and small blocking clients.

Every wait has a limit; LIMIT is for things that take no time on a machine that is not overloaded.
"""
import contextlib
import json
import os
import pathlib
import queue
import resource
import signal
import socket
import subprocess
import threading
import time

LIMIT = 60
LONG = bool(os.environ.get("SALLY_LONG"))
BIN = pathlib.Path(
    os.environ.get("SALLYPORT_BIN") or pathlib.Path(__file__).parents[2] / "build-check/bin")
TOOL = str(BIN / "sallyport")


def peer(name):
    return str(BIN / f"peer_{name}")


class Lines:
    """The lines of a pipe, read by a thread, so that waiting for one can have a limit."""

    def __init__(self, pipe):
        self.queue = queue.Queue()
        self.all = []
        self.thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self.thread.start()

    def _read(self, pipe):
        for line in pipe:
            self.all.append(line)
            self.queue.put(line)
        self.queue.put("")
        pipe.close()

    def next(self, seconds=LIMIT):
        """The next line, "" at the end; queue.Empty when none comes in time."""
        return self.queue.get(timeout=seconds)

    def text(self):
        self.thread.join(LIMIT)
        return "".join(self.all)


class Server:
    """`sallyport serve` on a free port. As a context manager it is stopped at the end, and has to
    stop well unless the scenario has stopped it already."""

    def __init__(self, *options, listen=("127.0.0.1:0",), descriptors=None, wrap=(), pass_fds=(),
                 env=None):
        def prepare():
            if descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        command = [*wrap, TOOL, "serve", "--json"]
        for address in listen:
            command += ["--listen", address]
        self.process = subprocess.Popen(
            command + [str(option) for option in options], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=prepare,
            pass_fds=pass_fds, env={**os.environ, **(env or {})})
        self.out = Lines(self.process.stdout)
        self.err = Lines(self.process.stderr)
        line = self.out.next()
        if not line:
            status = self.process.wait(LIMIT)
            raise AssertionError(f"did not start, exit status {status}: {self.err.text()}")
        self.start = json.loads(line)
        self.stop_report = None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None and self.stop_report is None and self.process.returncode is None:
            self.stop()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT)

    @property
    def port(self):
        return int(self.start["listening"][0].rsplit(":", 1)[1])

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self):
        """After a signal: the stop report of a server that has to end with status 0."""
        status = self.process.wait(LIMIT)
        errors = self.err.text()
        assert status == 0, f"exit status {status}: {errors}"
        lines = [json.loads(line) for line in self.out.text().splitlines()]
        reports = [line for line in lines if line["event"] == "stop"]
        assert len(reports) == 1, lines
        self.stop_report = reports[0]
        assert self.stop_report["finished"] + self.stop_report["cut"] == self.stop_report["conns"]
        return self.stop_report

    def stop(self):
        self.signal()
        return self.wait()

    def cpu_ticks(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = text.rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_bytes(self):
        """Private memory, so that pages of the program's file don't count."""
        text = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        fields = dict(line.split(":", 1) for line in text.splitlines()[1:])
        return sum(int(fields[name].split()[0]) * 1024
                   for name in ("Private_Clean", "Private_Dirty"))


def dial(port, host="127.0.0.1", seconds=LIMIT):
    return socket.create_connection((host, port), timeout=seconds)


def free_port():
    """One that nobody had a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def listens(port):
    try:
        dial(port).close()
        return True
    except ConnectionRefusedError:
        return False


def has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def receive(connection, count):
    """Exactly so many bytes, or fewer at the end of the stream."""
    parts = []
    while count:
        part = connection.recv(min(count, 1 << 20))
        if not part:
            break
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def echo(connection, data=b"hello\n"):
    connection.sendall(data)
    got = receive(connection, len(data))
    assert got == data, f"sent {len(data)} bytes, got {len(got)}"


def finish(connection):
    """Ends our side; the server has to end its own."""
    connection.shutdown(socket.SHUT_WR)
    assert connection.recv(1) == b""
    connection.close()


def wait_until(true, what, seconds=LIMIT):
    """How long it took, in seconds."""
    began = time.monotonic()
    while not true():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)
    return time.monotonic() - began


@contextlib.contextmanager
def closing(things):
    try:
        yield things
    finally:
        for thing in things:
            thing.close()


def run(*command, seconds=LIMIT, **more):
    """A program of somebody else, with a limit of its own and one of ours behind it."""
    return subprocess.run(["timeout", "-k", "5", str(seconds), *map(str, command)],
                          timeout=seconds + 15, check=False, **more)
