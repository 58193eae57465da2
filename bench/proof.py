"""What bench/soak, bench/overload and bench/slow-clients share: verdicts, a server that is watched, its sanitizers."""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from lab import BenchError, Process, Server, log

TOP = pathlib.Path(__file__).resolve().parent.parent
REPORT_MARKS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:",
                "SUMMARY: ")
CLOSE_WAIT, LISTEN = "08", "0A"


class Verdicts:
    """Lines that begin with PASS or FAIL, and whether there was one of the latter."""

    def __init__(self):
        self.failed = 0

    def tell(self, good, text):
        self.failed += not good
        print(f"{'PASS' if good else 'FAIL'}  {text}", flush=True)

    def note(self, text):
        print(f"      {text}", flush=True)


def parser_for(text, stores=("sqlite", "memory")):
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default=os.environ.get("FETCHPOOL_BINARY", "src/fetchpool"),
                        help="the fetchpool program ($FETCHPOOL_BINARY, else src/fetchpool)")
    parser.add_argument("--programs", type=pathlib.Path, default=pathlib.Path("bench"), help="the folder of load and origin")
    parser.add_argument("--store", choices=stores, default=stores[0])
    parser.add_argument("--dir", type=pathlib.Path, default=pathlib.Path(os.environ.get("TMPDIR", ".")),
                        help="where to make a directory for states and logs ($TMPDIR, else the current one)")
    parser.add_argument("--keep", action="store_true", help="leave that directory, also when all is well")
    parser.add_argument("--server-option", action="append", default=[], metavar="--NAME=VALUE",
                        help="a further option for the server")
    return parser


def sanitizer_of(program):
    """asan, tsan or none, by what the program refers to."""
    data = pathlib.Path(program).read_bytes()
    return "asan" if b"__asan_init" in data else "tsan" if b"__tsan_init" in data else "none"


def sanitizer_environment(directory):
    """Reports go to files of their own, and every leak is one."""
    where = f"log_path={directory}/report"
    more = {
        "ASAN_OPTIONS": f"{where}:exitcode=99:detect_leaks=1:quarantine_size_mb=16",
        "LSAN_OPTIONS": "exitcode=99",
        "UBSAN_OPTIONS": f"{where}:print_stacktrace=1",
        "TSAN_OPTIONS": f"{where}:exitcode=66:suppressions={TOP}/tests/tsan.supp",
    }
    return {**os.environ, **more}


def sanitizer_reports(directory, server):
    """What they said, the beginning of each."""
    said = [path.read_text(errors="replace") for path in sorted(directory.glob("report.*"))]
    said.append(server.said())
    found = []
    for text in said:
        at = [text.find(mark) for mark in REPORT_MARKS if mark in text]
        if at:
            found.append(text[min(at):][:3000])
    return found


def has_option(program, name):
    return name in subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout


class Watched(Server):
    """A server whose memory and descriptors are sampled once a second from its start on."""

    def __init__(self, options, directory, extra=(), name="server", token=None):
        super().__init__(options, directory, options.store, extra, name, start_seconds=60,
                         env=sanitizer_environment(directory))
        self.token = token
        self.port = int(self.address.rpartition(":")[2])
        self.samples = []  # (seconds, KiB, descriptors)
        self.begin = time.monotonic()
        self.over = threading.Event()
        self.watcher = threading.Thread(target=self.watch, daemon=True)
        self.watcher.start()

    def watch(self):
        while not self.over.wait(1):
            with contextlib.suppress(OSError, AttributeError):
                self.samples.append((time.monotonic() - self.begin, self.status("VmRSS"), self.descriptors()))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.child.pid}/fd"))

    def census(self):
        """Its descriptors by what they are: clients, origins, origins that have closed, others."""
        inodes = {}
        for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            inodes[fields[9]] = (int(fields[1].rpartition(":")[2], 16), fields[3])
        found = {"clients": 0, "origins": 0, "origins that closed": 0, "others": 0}
        for entry in os.scandir(f"/proc/{self.child.pid}/fd"):
            with contextlib.suppress(OSError):
                port, state = inodes.get(os.readlink(entry.path).removeprefix("socket:[").removesuffix("]"), (0, LISTEN))
                kind = ("others" if state == LISTEN else "clients" if port == self.port
                        else "origins that closed" if state == CLOSE_WAIT else "origins")
                found[kind] += 1
        return found

    def end(self):
        """SIGTERM; its exit status, and how many seconds it took."""
        self.over.set()
        self.watcher.join()
        self.connection.close()
        begin = time.monotonic()
        self.stop()
        return self.child.returncode, time.monotonic() - begin


class Bench:
    """Programs that are ended with it, and the directory that is left when something was wrong."""

    def __init__(self, options):
        self.options = options
        self.verdicts = Verdicts()
        self.running = []
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="fetchpool-proof.", dir=options.dir)).resolve()

    def keep(self, process):
        self.running.append(process)
        return process

    def server(self, *extra, name="server", token=None):
        return self.keep(Watched(self.options, self.directory, extra, name, token))

    def origin(self, *addresses):
        """Our own fast origin; its base URLs."""
        command = [str(self.options.programs / "origin"), *(addresses or ("127.0.0.1:0",))]
        process = self.keep(Process(f"origin-{len(self.running)}", command, self.directory))
        return [f"http://{address}" for address in process.addresses(len(addresses) or 1)]

    def load_command(self, server, how):
        command = [str(self.options.programs / "load"), "--target", server.address]
        if server.token is not None and "token" not in how:
            command += ["--token", server.token]
        for name, value in how.items():
            command += [f"--{name}", str(value)]
        return command

    def load(self, server, **how):
        """Runs bench/load to its end; what it reported."""
        return self.load_all(server, [how])[0]

    def load_all(self, server, hows):
        """Several of them at the same time."""
        children = [subprocess.Popen(self.load_command(server, how), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True) for how in hows]
        reports = []
        for child, how in zip(children, hows):
            out, err = child.communicate(timeout=600)
            if child.returncode != 0:
                raise BenchError(f"load {how}: {out}{err}")
            reports.append(json.loads(out))
        return reports

    def end_server(self, server, seconds):
        """SIGTERM, and the verdicts on how it went."""
        self.running.remove(server)
        status, took = server.end()
        self.verdicts.tell(status == 0 and took < seconds,
                           f"SIGTERM: exit status {status} after {took:.1f} s (at most {seconds})")
        reports = sanitizer_reports(self.directory, server)
        kind = sanitizer_of(self.options.server)
        self.verdicts.tell(not reports, f"reports of sanitizers ({kind}): {len(reports)}")
        for report in reports[:5]:
            print(report)

    def close(self):
        while self.running:
            self.running.pop().stop()
        if self.verdicts.failed or self.options.keep:
            log(f"logs and states are in {self.directory}")
        else:
            shutil.rmtree(self.directory)


def run(options, prove):
    """Calls prove(bench); the program's exit status."""
    # Children take this over: thousands of connections on each side.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    bench = Bench(options)
    try:
        prove(bench)
    except (BenchError, subprocess.TimeoutExpired, OSError, http.client.HTTPException) as error:
        bench.verdicts.tell(False, f"it ended early: {error}")
    finally:
        bench.close()
    return 1 if bench.verdicts.failed else 0


def milliseconds(microseconds):
    return f"{microseconds / 1000:.2f} ms"


def spec(url, **more):
    return json.dumps({"url": url, **more})


def program_line(path, *arguments):
    """Runs a program to its end; its exit status and last line."""
    done = subprocess.run([str(path), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.strip().splitlines()
    return done.returncode, lines[-1] if lines else ""


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0



if __name__ == "__main__":
    sys.exit("this is a part of bench/soak, bench/overload and bench/slow-clients")
