"""What the measurements share: programs that are started and ended, a fetchpool server, the machine they run on."""

import http.client
import json
import os
import pathlib
import platform
import re
import signal
import socket
import subprocess
import sys
import time

START_SECONDS = 20
DRAIN_SECONDS = 300


class BenchError(Exception):
    pass


def log(text):
    print(text, file=sys.stderr, flush=True)


def until(seconds, what, poll):
    """Polls until it returns something that is true; what it was."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = poll()
        if found:
            return found
        time.sleep(0.005)
    raise BenchError(f"{what}: not within {seconds} s")


class Process:
    """A program that says where it listens, and is ended with SIGTERM."""

    def __init__(self, name, command, directory, env=None):
        self.name = name
        self.log_path = directory / f"{name}.log"
        with open(self.log_path, "wb") as output:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env)

    def said(self):
        return self.log_path.read_text(errors="replace")

    def addresses(self, count=1, seconds=START_SECONDS):
        """The addresses that it has said it listens on, once there are so many."""

        def poll():
            found = re.findall(r"listening on http://([0-9.]+:[0-9]+)", self.said())
            if len(found) < count and self.child.poll() is not None:
                raise BenchError(f"{self.name} ended with {self.child.returncode}:\n{self.said()}")
            return found if len(found) >= count else None

        return until(seconds, f"{self.name} listening", poll)

    def status(self, key):
        """A number of /proc/PID/status, such as VmRSS (in KiB)."""
        text = pathlib.Path(f"/proc/{self.child.pid}/status").read_text()
        return int(re.search(rf"^{key}:\s+(\d+)", text, re.MULTILINE).group(1))

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            log(f"{self.name} does not end on SIGTERM: killed")
            self.child.kill()
            self.child.wait()


class Server(Process):
    """A fetchpool server with this store, and a state directory that belongs to its name."""

    def __init__(self, options, directory, store, extra=(), name=None, start_seconds=START_SECONDS, env=None):
        name = name or f"server-{store}"
        self.store = store
        self.token = None  # that it wants to see
        self.state = directory / f"{name}.state"
        command = [
            options.server, "--listen", "127.0.0.1:0", "--store", store, "--state-dir", str(self.state),
            "--egress-allow", "127.0.0.0/8", "--drain-timeout", "1s", *extra, *options.server_option,
        ]
        begin = time.monotonic()
        super().__init__(name, command, directory, env)
        try:
            self.address = self.addresses(seconds=start_seconds)[0]
            self.connection = http.client.HTTPConnection(self.address, timeout=60)
            until(start_seconds, f"{name} ready", self.ready)
        except BaseException:
            self.stop()
            raise
        self.seconds_to_ready = time.monotonic() - begin

    def ready(self):
        try:
            self.call("GET", "/readyz")
        except BenchError:
            return False
        return True

    def call(self, method, path, body=None):
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        text = json.dumps(body) if body is not None else None
        try:
            self.connection.request(method, path, text, headers)
            answer = self.connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            # Closed for being idle.
            self.connection.close()
            self.connection.request(method, path, text, headers)
            answer = self.connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise BenchError(f"{method} {path}: {answer.status} {data[:300]!r}")
        return data

    def json(self, method, path, body=None):
        return json.loads(self.call(method, path, body))

    def metric(self, name):
        """The sum of all series of that name."""
        text = self.call("GET", "/metrics").decode()
        found = re.findall(rf"^fetchpool_{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        if not found:
            raise BenchError(f"/metrics has no fetchpool_{name}")
        return sum(float(value) for value in found)

    def finished(self):
        return self.metric("jobs_finished_total")

    def in_flight(self):
        return self.metric("attempts_started_total") - self.metric("attempts_finished_total")

    def await_finished(self, count):
        until(DRAIN_SECONDS, f"{count:.0f} jobs finished", lambda: self.finished() >= count)


class Probe:
    """GETs one after another on one kept connection, with as little of Python between as can be."""

    def __init__(self, address):
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.host = address

    def close(self):
        self.socket.close()

    def get(self, path):
        """Microseconds until the whole answer is there, and its length."""
        request = f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode()
        begin = time.perf_counter_ns()
        self.socket.sendall(request)
        data = self.socket.recv(1 << 20)
        while data and b"\r\n\r\n" not in data:
            data += self.socket.recv(1 << 20)
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        if not head.startswith(b"HTTP/1.1 200") or length is None:
            raise BenchError(f"GET {path}: {data[:300]!r}")
        got, wanted = len(body), int(length.group(1))
        while got < wanted:
            more = self.socket.recv(1 << 20)
            if not more:
                raise BenchError(f"GET {path}: closed after {got} of {wanted} bytes")
            got += len(more)
        return (time.perf_counter_ns() - begin) / 1000, wanted


class Others:
    """How much of the processors' time went to programs that are none of ours, which spoils what is measured."""

    def __init__(self, running):
        self.running = running
        self.begin = time.monotonic(), self.used()

    def used(self):
        user, nice, system, _, _, irq, softirq = map(
            int, pathlib.Path("/proc/stat").read_text().split(maxsplit=8)[1:8])
        all_seconds = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
        here = os.times()
        ours = here.user + here.system + here.children_user + here.children_system
        return all_seconds - ours - sum(process.cpu_seconds() for process in self.running)

    def share(self):
        """Of one core."""
        return (self.used() - self.begin[1]) / (time.monotonic() - self.begin[0])


def machine():
    model = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {"cores": os.cpu_count(), "cpu": model.group(1) if model else platform.machine(), "kernel": platform.release()}


def file_system(path):
    """The type and device of the file system a path is on, such as ("ext4", "/dev/sda1")."""
    best = ("", "unknown", "unknown")
    resolved = str(pathlib.Path(path).resolve()) + "/"
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        device, point, kind = line.split()[:3]
        # Blanks in a path are written \040. Of two mounts on one point the later hides the earlier.
        point = point.encode().decode("unicode_escape").rstrip("/") + "/"
        if resolved.startswith(point) and len(point) >= len(best[0]):
            best = (point, kind, device)
    return best[1], best[2]


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) if number == 0 else cell.rjust(width)
                        for number, (cell, width) in enumerate(zip(row, widths))).rstrip())
