"""The servers: starting one, measuring it under a load, ending it. Every wait has a limit."""
import dataclasses
import json
import os
import re
import select
import signal
import subprocess
import tempfile

from . import outside

START_S = 10
STOP_S = 5
SPARE_S = 75  # what a generator may take beyond its own times: connecting, and its own alarm
NO_MODE = 77


@dataclasses.dataclass(frozen=True)
class Kind:
    name: str
    program: str
    args: tuple = ()
    files: str = ""  # the program instead, where the load is files
    on_request: bool = False  # only with --servers

    def is_here(self, binaries):
        if self.program == "nginx":
            return outside.nginx_path() is not None
        return (binaries / self.program).exists()


ALL = (
    Kind("raw_epoll", "bench_raw_epoll", files="bench_raw_sendfile"),
    Kind("raw_uring", "bench_raw_uring"),
    Kind("sallyport_epoll", "bench_sallyport", ("--port", "epoll")),
    Kind("sallyport_uring", "bench_sallyport", ("--port", "uring")),
    Kind("libuv", "bench_libuv"),
    Kind("libev", "bench_libev"),
    Kind("libevent", "bench_libevent"),
    Kind("asio", "bench_asio"),
    Kind("asio_uring", "bench_asio_uring"),
    Kind("sallyport_latency", "bench_sallyport", ("--profile", "latency"), on_request=True),
    Kind("nginx", "nginx"),
)
BY_NAME = {kind.name: kind for kind in ALL}


class Failed(Exception):
    """A measurement that could not be made; the text says why."""


class NoMode(Failed):
    """The server hasn't the mode that the load needs."""


def pinned(core):
    """For preexec_fn: one core, and no more."""
    return lambda: os.sched_setaffinity(0, {core})


class Server:
    """A server process, from its ready line to its end."""

    def __init__(self, binaries, kind, mode, core, under=()):
        self.name = kind.name
        if kind.program == "nginx" and mode != "files":
            raise NoMode("nginx sends files here, and nothing else")
        self.stderr = tempfile.TemporaryFile("w+")
        self.folder = None
        if kind.program == "nginx":
            self.folder = tempfile.TemporaryDirectory()
            self.port = outside.free_port()
            self.__start(outside.nginx_command(self.folder.name, self.port), core)
            if not outside.wait_listening(self.process, self.port):
                raise Failed(f"nginx did not start: {self.end()}")
        else:
            program = kind.files if kind.files and mode == "files" else kind.program
            self.__start([*under, str(binaries / program), *kind.args, "--mode", mode, "0"],
                         core)
            self.port = self.__port()

    def __start(self, command, core):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.stderr,
                                        text=True, preexec_fn=pinned(core))

    def __port(self):
        ready, _, _ = select.select([self.process.stdout], [], [], START_S)
        line = self.process.stdout.readline() if ready else ""
        found = re.fullmatch(r"ready (\d+)\n", line)
        if found:
            return int(found.group(1))
        said = self.end()
        if self.process.returncode == NO_MODE:
            raise NoMode(f"{self.name}: {said}")
        raise Failed(f"{self.name} did not start: {said or 'no ready line'}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        """Ends it, and returns what it said on its error output."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_S)
        self.process.stdout.close()
        if self.folder:
            self.folder.cleanup()
        self.stderr.seek(0)
        return self.stderr.read().strip()


def generator(binaries, load, server, seconds, warm, extra=()):
    args = [*load.args, *extra, "--seconds", seconds, "--warm", warm, "--pid", server.process.pid]
    return [str(binaries / "bench_load"), *map(str, args), load.kind, str(server.port)]


def run_generator(command, load, server, seconds, core):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              timeout=seconds + load.warm + SPARE_S, preexec_fn=pinned(core))
    except subprocess.TimeoutExpired:
        raise Failed(f"{server.name}: {load.name}: the generator did not end") from None
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise Failed(f"{server.name}: {load.name}: {said or done.returncode}")
    return done


def figures(result):
    """What is compared, out of what the generator reports."""
    requests, seconds = result["requests"], result["seconds"]
    return {
        "rate": requests / seconds,
        "cpu_ns": result["server_cpu_ns"] / requests,
        "bytes_s": result["bytes"] / seconds,
        "server_share": result["server_cpu_ns"] / 1e9 / seconds,
        "client_share": result["client_cpu_ns"] / 1e9 / seconds,
        "latency_ns": result["latency_ns"],
        "pace_ns": result["pace_ns"],
    }


def redis(load, server, core):
    if not outside.redis_path():
        raise NoMode("redis-benchmark is not installed")
    result, why = outside.redis(load, server.port, server.process.pid, pinned(core))
    if why:
        raise Failed(f"{server.name}: {load.name}: {why}")
    return result


def measure(binaries, kind, load, cores, seconds=None, extra=()):
    """One server, one load, once. cores: (client's, server's)."""
    seconds = seconds or load.seconds
    with Server(binaries, kind, load.mode, cores[1]) as server:
        if load.kind == "redis":
            return figures(redis(load, server, cores[0]))
        command = generator(binaries, load, server, seconds, load.warm, extra)
        done = run_generator(command, load, server, seconds, cores[0])
    return figures(json.loads(done.stdout))


def count(binaries, kind, load, cores, event="raw_syscalls:sys_enter", seconds=0.3):
    """Of an event of perf: how many the server needs for a request. A run of its own, because
    counting costs time, and without a warm-up, so that every request is counted. Connecting is in
    it. None if perf did not count."""
    with Server(binaries, kind, load.mode, cores[1]) as server:
        with tempfile.NamedTemporaryFile("r") as counts:
            command = ["perf", "stat", "-x,", "-o", counts.name, "-e", event,
                       "-p", str(server.process.pid), "--",
                       *generator(binaries, load, server, seconds, 0)]
            done = run_generator(command, load, server, seconds, cores[0])
            found = re.search(r"^(\d+),", counts.read(), re.MULTILINE)
    return int(found.group(1)) / json.loads(done.stdout)["requests"] if found else None
