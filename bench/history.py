"""How a server with an SQLite ledger bears a long history, and many jobs that wait, when it starts on them.

A million jobs are not run but copied: two real ones are run, and their rows are written again and again under new keys,
with the times moved along. So what is copied is what this very server writes, whatever columns it has.
"""

import os
import random
import socket
import sqlite3
import statistics
import time

from lab import BenchError, Probe, Server, log, table, until

CALLS = 300
CALLS_SECONDS = 10  # no more are begun then
FAILED_EACH = 100  # each 100th job of a history has failed
START_SECONDS = 300
TABLES = ("jobs", "live", "results", "attempts")
DAY_MS = 86400000

# Nothing of a history may expire while it is looked at, and all that wait must be let in.
SERVER_OPTIONS = ("--ttl", "30d", "--max-queued", "10000000")


def id_text(seq, tail):
    """The id of a job from its two keys: 60 bits of time and counter, 64 of the rest, and the version between them."""
    tail &= 0xFFFFFFFFFFFFFFFF
    return (f"{seq >> 28:08x}-{seq >> 12 & 0xffff:04x}-7{seq & 0xfff:03x}-"
            f"{tail >> 48:04x}-{tail & 0xffffffffffff:012x}")


class Copier:
    """Makes many jobs of the few in a state directory, while no server has it open."""

    def __init__(self, state):
        self.path = state / "ledger.db"
        self.db = sqlite3.connect(self.path, isolation_level=None)
        # No log and no sync: until the server has it, it can be made anew.
        for pragma in ("journal_mode = DELETE", "journal_mode = OFF", "synchronous = OFF", "cache_size = -200000"):
            self.db.execute(f"PRAGMA {pragma}").fetchall()
        for table in TABLES:
            self.db.execute(f"CREATE TEMP TABLE it_{table} AS SELECT * FROM main.{table}")
            self.db.execute(f"DELETE FROM main.{table}")

    def templates(self, table):
        """The keys of the jobs by their state."""
        return dict(self.db.execute(f"SELECT state, seq FROM it_{table}"))

    def copy(self, count, which, begin_ms, expires_ms):
        """Makes count jobs, a millisecond apart; which is SQL for the key of n's template."""
        made_ms = f"({begin_ms} + n)"
        special = {
            "seq": f"{made_ms} << 12",
            # The variant's two bits, then 62 random ones.
            "tail": "(random() & 0x3fffffffffffffff) | (1 << 63)",
            "expires_at": f"{expires_ms} + n",
            "finish_order": "1 + n",
        }
        self.db.execute("BEGIN")
        for table in TABLES:
            columns = [row[1] for row in self.db.execute(f"PRAGMA main.table_info({table})")]
            values = []
            for column in columns:
                if column in special:
                    values.append(special[column])
                elif column.endswith("_at"):
                    values.append(f"it.{column} + {made_ms} - (it.seq >> 12)")
                else:
                    values.append(f'it."{column}"')
            names = ", ".join(f'"{column}"' for column in columns)
            self.db.execute(
                f"WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {count}) "
                f"INSERT INTO main.{table} ({names}) SELECT {', '.join(values)} "
                f"FROM numbers CROSS JOIN it_{table} AS it ON it.seq = {which}")
        self.db.execute("COMMIT")

    def some_ids(self, count):
        last, first = self.db.execute("SELECT max(seq), min(seq) FROM main.jobs").fetchone()
        find = "SELECT seq, tail FROM main.jobs WHERE seq >= ? ORDER BY seq LIMIT 1"
        return [id_text(*self.db.execute(find, (random.randint(first, last),)).fetchone()) for _ in range(count)]

    def close(self):
        """Done; what it wrote is out of the page cache, as after a boot. The file's bytes."""
        self.db.execute("PRAGMA journal_mode = WAL").fetchall()
        self.db.close()
        with open(self.path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return self.path.stat().st_size


def start(bench, name):
    return bench.keep(Server(bench.options, bench.directory, "sqlite", SERVER_OPTIONS, name, START_SECONDS))


def empty_server(bench):
    """What a server costs that knows no job."""
    server = start(bench, "empty")
    found = {"seconds_to_ready": server.seconds_to_ready, "rss_kib": server.status("VmRSS")}
    bench.stop(server)
    return found


def with_history(bench, name, base):
    """A state directory with two jobs that are done, one of each kind."""
    with socket.socket() as taken:
        # Bound and not listening: nobody answers there.
        taken.bind(("127.0.0.1", 0))
        server = start(bench, name)
        server.json("POST", "/v1/jobs?wait=10s", {"url": base + "/"})
        server.json("POST", "/v1/jobs?wait=10s", {"url": f"http://127.0.0.1:{taken.getsockname()[1]}/"})
        until(10, "two jobs finished", lambda: server.finished() >= 2)
        bench.stop(server)
    copier = Copier(server.state)
    return copier, copier.templates("results")


def with_waiting(bench, name, base):
    """A state directory with one job that waits for a time far away."""
    server = start(bench, name)
    server.json("POST", "/v1/jobs", {"url": base + "/", "delay": "10d"})
    bench.stop(server)
    copier = Copier(server.state)
    return copier, copier.templates("live")


def latencies(server, paths):
    """Median and 99th percentile in microseconds of these calls, one after another on one connection."""
    probe = Probe(server.address)
    found, deadline = [], time.monotonic() + CALLS_SECONDS
    for path in paths:
        if found and time.monotonic() > deadline:
            break
        found.append(probe.get(path)[0])
    probe.close()
    found.sort()
    return {"calls": len(found), "p50_us": statistics.median(found), "p99_us": found[int(len(found) * 0.99)],
            "max_us": found[-1]}


def history(bench, base, count):
    """A server on so many finished jobs: its start, its memory, and how long the reading calls take."""
    name = f"history-{count}"
    copier, templates = with_history(bench, name, base)
    if set(templates) != {"succeeded", "failed"}:
        raise BenchError(f"the jobs to copy have ended otherwise than meant: {templates}")
    now_ms = int(time.time() * 1000)
    origin = base.removeprefix("http://")
    which = f"CASE n % {FAILED_EACH} WHEN 0 THEN {templates['failed']} ELSE {templates['succeeded']} END"
    begin = time.monotonic()
    copier.copy(count, which, now_ms - count - 60000, now_ms + 20 * DAY_MS)
    ids = copier.some_ids(CALLS)
    file_bytes = copier.close()
    log(f"{count:,} finished jobs written in {time.monotonic() - begin:.1f} s, {file_bytes / 1e6:,.0f} MB")
    server = start(bench, name)
    found = {"jobs": count, "file_bytes": file_bytes, "seconds_to_ready_cold": server.seconds_to_ready,
             "first_list_us": latencies(server, ["/v1/jobs?limit=100"])["max_us"]}
    bench.stop(server)
    server = start(bench, name)
    found["seconds_to_ready"] = server.seconds_to_ready
    found["rss_kib_ready"] = server.status("VmRSS")
    lists = {
        "newest 100": "/v1/jobs?limit=100",
        "state=failed": "/v1/jobs?state=failed&limit=100",
        "state=cancelled, none": "/v1/jobs?state=cancelled&limit=100",
        "origin=": f"/v1/jobs?origin={origin}&limit=100",
        "origin=, state=cancelled, none": f"/v1/jobs?origin={origin}&state=cancelled&limit=100",
    }
    found["calls"] = {f"list, {what}": latencies(server, [path] * CALLS) for what, path in lists.items()}
    found["calls"]["one job, any"] = latencies(server, [f"/v1/jobs/{one}" for one in ids])
    found["rss_kib_after"] = server.status("VmRSS")
    bench.stop(server)
    return found


def recovery(bench, base, count, empty):
    """A server that starts with so many jobs that wait."""
    name = f"recovery-{count}"
    copier, templates = with_waiting(bench, name, base)
    if set(templates) != {"queued"}:
        raise BenchError(f"the job to copy does not wait: {templates}")
    now_ms = int(time.time() * 1000)
    copier.copy(count, str(templates["queued"]), now_ms - count - 60000, 0)
    file_bytes = copier.close()
    server = start(bench, name)
    found = {"jobs": count, "file_bytes": file_bytes, "seconds_to_ready": server.seconds_to_ready,
             "rss_kib": server.status("VmRSS")}
    # It has them all, and they are not gone on their way.
    server.json("GET", "/v1/jobs?state=queued&limit=1")
    found["queued"] = server.metric("jobs")
    bench.stop(server)
    if found["queued"] != count:
        raise BenchError(f"of {count} jobs that waited {found['queued']:.0f} wait after a restart")
    found["bytes_per_job"] = (found["rss_kib"] - empty["rss_kib"]) * 1024 / count
    return found


def measure(bench, histories, recoveries):
    base = bench.start_origin()[0]
    empty = empty_server(bench)
    found = {"empty": empty, "history": [], "recovery": []}
    for count in histories:
        found["history"].append(history(bench, base, count))
        forget(bench.directory / f"history-{count}.state")
    for count in recoveries:
        found["recovery"].append(recovery(bench, base, count, empty))
        forget(bench.directory / f"recovery-{count}.state")
    return found


def forget(state):
    """Removes what may be gigabytes before the next is made."""
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (state / name).unlink(missing_ok=True)


def print_summary(found):
    empty = found["empty"]
    print(f"\nA server that knows no job: ready in {empty['seconds_to_ready'] * 1000:.0f} ms, "
          f"RSS {empty['rss_kib'] / 1024:.1f} MiB")
    for one in found["history"]:
        print(f"\n{one['jobs']:,} finished jobs, {one['file_bytes'] / 1e6:,.1f} MB: ready in "
              f"{one['seconds_to_ready'] * 1000:.0f} ms ({one['seconds_to_ready_cold'] * 1000:.0f} ms and the first "
              f"list {one['first_list_us'] / 1000:.1f} ms out of a cold cache), RSS {one['rss_kib_ready'] / 1024:.1f} MiB, "
              f"{one['rss_kib_after'] / 1024:.1f} after the calls")
        table([("calls on one connection, milliseconds", "calls", "p50", "p99", "max"), *(
            (call, str(times["calls"]), *(f"{times[key] / 1000:.2f}" for key in ("p50_us", "p99_us", "max_us")))
            for call, times in one["calls"].items())])
    for one in found["recovery"]:
        print(f"\n{one['jobs']:,} jobs that wait, {one['file_bytes'] / 1e6:,.1f} MB: ready in "
              f"{one['seconds_to_ready'] * 1000:.0f} ms, RSS {one['rss_kib'] / 1024:.1f} MiB, "
              f"{one['bytes_per_job']:,.0f} bytes a job")
