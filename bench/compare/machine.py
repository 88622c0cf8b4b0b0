"""What the figures were measured on, and what only the system can tell: cores, memory, counters."""
import os
import pathlib
import platform
import re
import shutil
import subprocess
import time

SLABS = ("TCP", "sock_inode_cache", "eventpoll_epi", "eventpoll_pwq", "filp", "dentry", "kmalloc-")


def read(path, default=""):
    try:
        return pathlib.Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return default


def processor():
    found = re.search(r"^model name\s*:\s*(.+)$", read("/proc/cpuinfo"), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def load_average():
    """Of the last minute: what else runs, mostly."""
    return read("/proc/loadavg", "?").split(" ")[0]


def facts(command):
    """Stands above every table: a figure without these says nothing."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "command": command,
        "kernel": platform.release(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "congestion_control": read("/proc/sys/net/ipv4/tcp_congestion_control", "?"),
        "files_max": subprocess.run(["sh", "-c", "ulimit -n"], capture_output=True, text=True,
                                    check=True).stdout.strip(),
        "load_average": load_average(),
        "mitigations": {name: read(f"/sys/devices/system/cpu/vulnerabilities/{name}")
                        for name in ("retbleed", "spectre_v2", "mds")},
    }


def core_latency_ns(program, cores, limit_s=10):
    """How long a cache line takes from one core to the other; it tells where the hypervisor has
    put them at this moment."""
    done = subprocess.run([program, *map(str, cores)], capture_output=True, text=True,
                          timeout=limit_s, check=True)
    return float(done.stdout)


def can_count(event):
    """Whether perf has this counter here; virtual machines often have none of the processor's."""
    if not shutil.which("perf"):
        return False
    done = subprocess.run(["perf", "stat", "-x,", "-e", event, "true"], capture_output=True,
                          text=True, timeout=20, check=False)
    found = re.search(r"^(\d+),", done.stderr, re.MULTILINE)
    return done.returncode == 0 and bool(found) and int(found.group(1)) > 0


def user_bytes(pid):
    """What the process alone has in memory."""
    text = read(f"/proc/{pid}/smaps_rollup")
    return sum(int(kib) * 1024 for kib in re.findall(r"^Private_\w+:\s+(\d+) kB", text,
                                                     re.MULTILINE))


def slab_bytes():
    """Of the kernel's caches that connections live in, for the whole machine; None if secret."""
    text = read("/proc/slabinfo")
    if not text:
        return None
    total = 0
    for line in text.splitlines():
        fields = line.split()
        if fields[0].startswith(SLABS):
            total += int(fields[1]) * int(fields[3])
    return total
