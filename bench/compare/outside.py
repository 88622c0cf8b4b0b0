"""Programs that nobody here wrote: nginx as a server of files, redis-benchmark as a generator that
checks ours. Each is measured only where it is installed. Every wait has a limit."""
import csv
import pathlib
import resource
import shutil
import socket
import subprocess
import time

FILE_BYTES = 1 << 20  # as SERVER_FILE_BYTES
START_S = 10
REDIS_S = 60

CONFIG = """daemon off; master_process off; worker_processes 1; pid {folder}/pid;
error_log {folder}/error.log error;
events {{ worker_connections 8192; use epoll; }}
http {{
    access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;
    keepalive_requests 100000000; open_file_cache max=16;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port} backlog=4096; root {folder}; }}
}}
"""


def nginx_path():
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def nginx_command(folder, port):
    """One process in the foreground, from a folder of its own; no service, no file of the system's."""
    root = pathlib.Path(folder)
    root.chmod(0o755)
    (root / "file").write_bytes(bytes(FILE_BYTES))
    (root / "nginx.conf").write_text(CONFIG.format(folder=folder, port=port), encoding="utf-8")
    return [nginx_path(), "-p", folder, "-c", f"{folder}/nginx.conf",
            "-e", f"{folder}/error.log"]


def wait_listening(process, port):
    """False when it ended, or does not listen in time."""
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            time.sleep(0.01)
    return False


def cpu_ns(pid):
    """On a processor, all its tasks."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text(encoding="utf-8").split()[0])
    return total


def redis_path():
    return shutil.which("redis-benchmark")


def redis(load, port, pid, pinned):
    """redis-benchmark once: what the generator of ours would report, or None and why not. An echo
    of its request is a valid reply. It retries a refused port for ever, so it has a limit."""
    command = [redis_path(), "-h", "127.0.0.1", "-p", str(port), "-t", "ping_mbulk", "--csv",
               *map(str, load.args)]
    used, before = resource.getrusage(resource.RUSAGE_CHILDREN), cpu_ns(pid)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=REDIS_S,
                              check=False, preexec_fn=pinned)
    except subprocess.TimeoutExpired:
        return None, "redis-benchmark did not end"
    spent = cpu_ns(pid) - before
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    if done.returncode or len(rows) != 1:
        return None, (done.stderr or done.stdout).strip()[-200:]
    requests = int(load.args[load.args.index("-n") + 1])
    client_s = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    points = {point: float(rows[0][f"{name}_latency_ms"]) * 1e6
              for point, name in (("mean", "avg"), ("p50", "p50"), ("p99", "p99"), ("max", "max"))}
    return {"requests": requests, "seconds": requests / float(rows[0]["rps"]), "bytes": 0,
            "server_cpu_ns": spent, "client_cpu_ns": client_s * 1e9, "latency_ns": points,
            "pace_ns": [1, 1]}, None  # it measures no pace: all its rounds count
