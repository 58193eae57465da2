"""Clients of bench/soak that do what clients should not, or seldom do. Each is a thread with a pace of its own."""

import contextlib
import http.client
import json
import random
import signal
import socket
import struct
import threading
import time

TTL_SECONDS = 20  # of jobs that nobody may ever ask for
PATIENCE = 60
LARGE = 150000

# What is no HTTP, and the statuses that may answer it; None: the connection is just closed.
MALFORMED = (
    (b"GET / HTTP/1.1\r\n\r\n", (400,)),
    (b"GET /livez HTTP/1.1\nHost: HOST\n\n", (400,)),
    (b"GET /livez HTTP/1.1\r\nHost: HOST\r\nA : b\r\n\r\n", (400,)),
    (b"GET /livez HTTP/1.1\r\nHost: HOST\r\nA: b\r\n folded\r\n\r\n", (400,)),
    (b"GET /livez HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n", (400,)),
    (b"GET /livez HTTP/3.0\r\nHost: HOST\r\n\r\n", (400, 505)),
    (b"GET  /livez HTTP/1.1\r\nHost: HOST\r\n\r\n", (400,)),
    (b"GET /%zz HTTP/1.1\r\nHost: HOST\r\n\r\n", (400,)),
    (b"GET /livez\x00 HTTP/1.1\r\nHost: HOST\r\n\r\n", (400,)),
    (b"POST /v1/jobs HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", (400,)),
    (b"POST /v1/jobs HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400,)),
    (b"POST /v1/jobs HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: gzip\r\n\r\n", (400, 501)),
    (b"POST /v1/jobs HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", (400,)),
    (b"POST /v1/jobs HTTP/1.1\r\nHost: HOST\r\nContent-Length: -1\r\n\r\n", (400,)),
    (b"GET /livez HTTP/1.1\r\nHost: HOST\r\n" + b"X-Y: " + b"y" * 70000 + b"\r\n\r\n", (400, 431)),
    (b"GET /livez HTTP/1.1\r\nHost: HOST\r\n" + b"X-Y: y\r\n" * 3000 + b"\r\n", (400, 431)),
    (b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\nHost: HOST\r\n\r\n", (400, 414, 431)),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200, (400,)),
    (b"\x00" * 100, (400,)),
)

# The tokens of these clients and of tests/crash: they stay. Others come and go with each SIGHUP.
ADMIN, BOOK, READER = "admin-of-the-soak", "book-of-the-soak", "reader-of-the-soak"
TOKENS = f"{ADMIN} name=admin scope=admin\n{BOOK} name=book\n{READER} name=reader scope=read\n"

# What is HTTP, and refused: method, path, body, headers, statuses.
REFUSED = (
    ("GET", "/v1/jobs/no-such-job", None, {}, (404,)),
    ("GET", "/v1/jobs/019aa0c4-6d0e-7c61-9d3a-2f6f3b9c1f00", None, {}, (404,)),
    ("GET", "/nothing/here", None, {}, (404,)),
    ("PUT", "/v1/jobs", "{}", {"Content-Type": "application/json"}, (405,)),
    ("POST", "/v1/jobs", "{", {"Content-Type": "application/json"}, (400,)),
    ("POST", "/v1/jobs", '{"url":"http://a/","url":"http://b/"}', {"Content-Type": "application/json"}, (400,)),
    ("POST", "/v1/jobs", '{"url":"http://a/","tpyo":1}', {"Content-Type": "application/json"}, (400,)),
    ("POST", "/v1/jobs", '{"url":"ftp://a/"}', {"Content-Type": "application/json"}, (400,)),
    ("POST", "/v1/jobs", "[" * 500, {"Content-Type": "application/json"}, (400,)),
    ("POST", "/v1/jobs?nonsense=1", '{"url":"http://a/"}', {"Content-Type": "application/json"}, (400,)),
    ("POST", "/v1/jobs", "url=x", {"Content-Type": "application/x-www-form-urlencoded"}, (415,)),
    ("GET", "/v1/jobs?limit=0", None, {}, (400,)),
    ("GET", "/livez", None, {"Host": "evil.example"}, (200, 403)),
    ("GET", "/v1/jobs", None, {"Host": "evil.example"}, (403,)),
    ("GET", "/v1/jobs", None, {"Origin": "http://evil.example"}, (403,)),
    ("GET", "/v1/jobs", None, {"Authorization": "Bearer nobody"}, (401,)),
    ("GET", "/v1/jobs", None, {"Authorization": "Basic YTpi"}, (401,)),
    ("POST", "/v1/jobs", '{"url":"http://a/"}',
     {"Authorization": f"Bearer {READER}", "Content-Type": "application/json"}, (403,)),
    ("POST", "/v1/wait", '{"ids":[]}', {"Content-Type": "application/json"}, (400,)),
    ("POST", "/v1/jobs/cancel", "{}", {"Content-Type": "application/json"}, (400,)),
)

# What a SIGHUP brings; the last is wrong, so that everything stays as it was.
SETTINGS = (
    "log-level = warn\n",
    'log-level = info\norigin "127.0.0.1" { max-in-flight = 32 }\n',
    "log-level = warn\negress-deny = {10.9.8.0/24, evil.example, *.evil.example}\n",
    'log-level = warn\norigin "127.0.0.1" { max-in-flight = 48 }\norigin "example.com:8443" { max-in-flight = 2 }\n',
    "log-level = warn\negress-deny = {no.address/99}\n",
)


def write_settings(directory, number):
    (directory / "fetchpool.conf").write_text(SETTINGS[number % len(SETTINGS)])
    others = "".join(f"passing-word-number-{n} name=passing-{n} jobs-per-minute={n + 1}\n"
                     for n in range(number % 7, number % 7 + 5))
    # Now and then there is one that is wrong.
    (directory / "tokens").write_text(TOKENS + others + ("a-fine-word scope=nonsense\n" if number % 11 == 10 else ""))


def reset_at_close(wire):
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Client:
    """One thread's: a kept connection, and the words that its kind is written with."""

    def __init__(self, clients, kind, seed):
        self.clients = clients
        self.kind = kind
        self.random = random.Random(seed)
        self.server = clients.server
        self.bare_host = self.server.address.encode()
        # Behind "Host: " in each request that is written by hand.
        self.host = b"%s\r\nAuthorization: Bearer %s" % (self.bare_host, ADMIN.encode())
        self.url = clients.url
        self.connection = None

    def fault(self, text):
        self.clients.fault(f"{self.kind}: {text}")

    # ---- calls

    def once(self, method, path, body, headers):
        headers = {"Authorization": f"Bearer {ADMIN}", **headers}
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.server.address, timeout=PATIENCE)
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def call(self, method, path, body=None, headers=None, expect=(200,)):
        """The status, fields and body of the answer."""
        if isinstance(body, dict):
            body, headers = json.dumps(body), {"Content-Type": "application/json", **(headers or {})}
        try:
            answer = self.once(method, path, body, headers or {})
        except (http.client.RemoteDisconnected, ConnectionError):
            # Closed for being idle, or behind a refusal.
            self.connection = None
            answer = self.once(method, path, body, headers or {})
        if answer[0] not in expect:
            self.fault(f"{method} {path}: {answer[0]}, not one of {expect}: {answer[2][:300]!r}")
        if (answer[1].get("Connection") or "").lower() == "close":
            self.connection = None
        return answer

    def json(self, *arguments, **more):
        with contextlib.suppress(ValueError):
            return json.loads(self.call(*arguments, **more)[2])
        return {}

    def submit(self, path, expect=(202,), query="", **more):
        """An acknowledged job, to be given to finish."""
        job = self.json("POST", f"/v1/jobs{query}", {"url": self.url + path, "tags": ["soak"], **more}, expect=expect)
        if "id" in job:
            self.clients.count("acknowledged")
        return job.get("id", "none")

    def finish(self, job, states=("succeeded",)):
        """Sees it end, in one of these states, and removes it."""
        found = self.json("GET", f"/v1/jobs/{job}?wait=30s")
        if found.get("state") not in states:
            self.fault(f"{job} is {found.get('state')}, not one of {states}: {found.get('error')}")
        self.call("DELETE", f"/v1/jobs/{job}", expect=(204,))
        self.call("GET", f"/v1/jobs/{job}", expect=(404,))
        self.clients.count("removed")

    def wire(self, receive_bytes=0):
        wire = socket.socket()
        wire.settimeout(PATIENCE)
        if receive_bytes:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        wire.connect(("127.0.0.1", self.server.port))
        return wire

    def leave(self, wire):
        if self.random.random() < 0.5:
            reset_at_close(wire)
        wire.close()

    def post(self, path, body):
        """The bytes of a POST, by length or in chunks."""
        head = b"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n" % (path, self.host)
        if self.random.random() < 0.5:
            return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        half = len(body) // 2
        return (head + b"Transfer-Encoding: chunked\r\n\r\n" +
                b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:])) + b"0\r\n\r\n")

    def forgotten(self, path, **more):
        """The spec of a job that nobody may come back for."""
        return json.dumps({"url": self.url + path, "tags": ["forgotten"], "ttl": TTL_SECONDS, "timeout": 5, **more}).encode()

    def answer(self, wire):
        """The status of the answer on a wire; 0 when it is closed without one."""
        data = b""
        with contextlib.suppress(ConnectionError):
            while b"\r\n" not in data:
                more = wire.recv(65536)
                if not more:
                    break
                data += more
        return int(data[9:12]) if data.startswith(b"HTTP/1.1 ") else 0

    # ---- kinds

    def leaves_waits(self):
        job = self.submit("/delay/600")
        wires = [self.wire() for _ in range(4)]
        wires[0].sendall(b"GET /v1/jobs/%s?wait=30s HTTP/1.1\r\nHost: %s\r\n\r\n" % (job.encode(), self.host))
        wires[1].sendall(self.post(b"/v1/jobs?wait=30s", self.forgotten("/delay/500")))
        wires[2].sendall(self.post(b"/v1/wait", json.dumps({"ids": [job], "timeout": "30s"}).encode()))
        wires[3].sendall(b"POST /v1/jobs/%s/cancel HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n"
                         % (job.encode() if self.random.random() < 0.3 else b"none", self.host))
        time.sleep(self.random.random() * 0.7)
        for wire in wires:
            self.leave(wire)
        self.finish(job, ("succeeded", "cancelled"))

    def cuts_requests(self):
        large = self.random.random() < 0.2
        request = self.random.choice((
            self.post(b"/v1/jobs", self.forgotten("/text/100")),
            self.post(b"/v1/jobs?wait=5s", self.forgotten("/text/90000")),
            self.post(b"/v1/jobs", self.forgotten("/sink", method="POST", body="x" * (100000 if large else 100))),
            b"GET /v1/jobs?limit=20 HTTP/1.1\r\nHost: %s\r\n\r\n" % self.host,
            b"GET /metrics HTTP/1.1\r\nHost: %s\r\n\r\n" % self.host * 3,
        ))
        wire = self.wire()
        at = self.random.randrange(len(request) + 1)
        with contextlib.suppress(ConnectionError):
            wire.sendall(request[:at])
            if self.random.random() < 0.3:
                time.sleep(self.random.random() * 0.2)
                wire.sendall(request[at:])
            if self.random.random() < 0.3:
                wire.shutdown(socket.SHUT_WR)
        self.leave(wire)

    def writes_nonsense(self):
        request, statuses = self.random.choice(MALFORMED)
        wire = self.wire()
        with contextlib.suppress(ConnectionError):
            wire.sendall(request.replace(b"HOST", self.bare_host))
        status = self.answer(wire)
        # The connection may be reset with bytes of ours unread, and the answer lost, only when they are many.
        if status not in statuses and not (status == 0 and len(request) > 10000):
            self.fault(f"{request[:80]!r}: {status}, not one of {statuses}")
        wire.close()

    def is_refused(self):
        method, path, body, headers, statuses = self.random.choice(REFUSED)
        self.call(method, path, body, headers, expect=statuses)

    def reads_ranges(self):
        job = self.submit(f"/bytes/{LARGE}", (200,), "?wait=30s&body=none")
        path = f"/v1/jobs/{job}/body"
        _, fields, whole = self.call("GET", path)
        if len(whole) != LARGE:
            self.fault(f"{len(whole)} bytes, not {LARGE}")
        for _ in range(5):
            first = self.random.randrange(LARGE)
            last = self.random.randrange(first, LARGE)
            part = self.call("GET", path, headers={"Range": f"bytes={first}-{last}", "If-Range": fields["ETag"]},
                             expect=(206,))[2]
            if part != whole[first:last + 1]:
                self.fault(f"bytes {first} to {last} are others")
        self.call("GET", path, headers={"Range": f"bytes={LARGE}-"}, expect=(416,))
        self.call("GET", path, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
        self.call("HEAD", path)
        self.call("GET", path, headers={"If-None-Match": fields["ETag"]}, expect=(304,))
        self.finish(job)

    def walks_lists(self):
        path = f"/v1/jobs?limit={self.random.randrange(1, 60)}" + self.random.choice(
            ("", "&tag=crash", "&tag=soak", "&state=succeeded,failed", "&state=running,queued", "&origin=127.0.0.1"))
        cursor = ""
        for _ in range(self.random.randrange(1, 8)):
            cursor = self.json("GET", path + cursor).get("next_cursor")
            if not cursor:
                break
            cursor = f"&cursor={cursor}"

    def cancels_many(self):
        tag = f"many-{self.random.random()}"
        jobs = [self.submit("/text/5", delay="1h", tags=[tag]) for _ in range(12)]
        found = self.json("POST", "/v1/jobs/cancel", {"ids": jobs[:4]}).get("cancelled", 0)
        found += self.json("POST", "/v1/jobs/cancel", {"tag": tag, "state": "queued"}).get("cancelled", 0)
        if found != len(jobs):
            self.fault(f"{found} of {len(jobs)} cancelled")
        for job in jobs:
            self.finish(job, ("cancelled",))

    def awaits_many(self):
        jobs = [self.submit(f"/delay/{self.random.randrange(150)}") for _ in range(5)]
        for mode in ("any", 3, "all"):
            found = self.json("POST", "/v1/wait", {"ids": jobs, "mode": mode, "timeout": "30s"}, expect=(200,))
            least = {"any": 1, "all": 5}.get(mode, mode)
            if len(found.get("finished", ())) < least:
                self.fault(f"mode {mode}: {len(found.get('finished', ()))} finished")
        for job in jobs:
            self.finish(job)

    def uses_keys_twice(self):
        key = f"key-{self.random.random()}"
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        body = json.dumps({"url": self.url + "/text/7"})
        job = self.json("POST", "/v1/jobs", body, headers, expect=(202,)).get("id", "none")
        self.clients.count("acknowledged")
        if self.json("POST", "/v1/jobs?wait=30s", body, headers).get("id") != job:
            self.fault(f"{key} gave another job")
        self.call("POST", "/v1/jobs", json.dumps({"url": self.url + "/text/8"}), headers, expect=(422,))
        self.finish(job)

    def fetches_oddly(self):
        path, code = self.random.choice((
            ("/endlesshead", "protocol_error"), ("/garbage", "protocol_error"), ("/badchunk", "protocol_error"),
            ("/cuthead", "truncated"), ("/closechunked", "truncated"), ("/unknowncoding", "bad_content_encoding"),
            ("/redirect-to?url=file:///etc/passwd", "bad_redirect"),
            ("/redirect-to?url=http://169.254.169.254/", "denied_by_policy"),
            ("/endless", "too_large"), ("/resetbody", "connection_lost"), ("/stall/10", "idle_timeout"),
        ))
        # Lines that come one by one can bring the kernel to close its window for a while: that is no silence of the origin.
        idle = "300ms" if code == "idle_timeout" else "10s"
        job = self.submit(path, (200,), "?wait=30s", max_body_bytes=1 << 20, idle_timeout=idle)
        found = self.json("GET", f"/v1/jobs/{job}")
        if (found.get("error") or {}).get("code") != code:
            self.fault(f"{path}: {found.get('error')}, not {code}")
        self.finish(job, ("failed",))

    def writes_slowly(self):
        body = self.forgotten("/text/100")
        request = self.random.choice((b"GET /livez HTTP/1.1\r\nHost: %s\r\n\r\n" % self.host, self.post(b"/v1/jobs", body)))
        wire = self.wire()
        pause = self.random.choice((0.2, 1.0)) * self.clients.head_seconds / len(request)
        slow = pause * len(request) > 0.9 * self.clients.head_seconds and request.startswith(b"GET")
        try:
            for at in range(len(request)):
                wire.sendall(request[at:at + 1])
                time.sleep(pause * 1.2)
            status = self.answer(wire)
        except ConnectionError:
            status = 0
        # A body has its own, longer time; the head of such a request is over soon enough, or it is not.
        if status not in ((200, 202, 408, 0) if slow or request.startswith(b"POST") else (200,)):
            self.fault(f"{status} for {request[:20]!r}, {pause:.3f} s a byte")
        self.leave(wire)

    def reads_slowly(self):
        job = self.submit(f"/bytes/{LARGE * 10}", (200,), "?wait=30s&body=none")
        wire = self.wire(4096)
        with contextlib.suppress(ConnectionError):
            wire.sendall(b"GET /v1/jobs/%s/body HTTP/1.1\r\nHost: %s\r\n\r\n" % (job.encode(), self.host))
            for _ in range(self.random.randrange(20)):
                wire.recv(2000)
                time.sleep(0.1)
        self.leave(wire)
        self.finish(job)

    def watches(self):
        for path in ("/livez", "/readyz", "/readyz?verbose", "/metrics", "/v1/info", "/openapi.json"):
            self.call("GET", path)
        self.call("POST", "/v1/egress/check", {"url": "http://169.254.169.254/"}, expect=(200,))
        wire = self.wire()
        wire.sendall(b"GET /livez HTTP/1.1\r\nHost: %s\r\n\r\n" % self.host * 20)
        wire.shutdown(socket.SHUT_WR)
        data = b""
        while more := wire.recv(65536):
            data += more
        if data.count(b"HTTP/1.1 200 ") != 20:
            self.fault(f"{data.count(b'HTTP/1.1 200 ')} of 20 pipelined requests answered")
        wire.close()

    def reloads(self):
        self.clients.reload()


# How often a second at --rate 100.
KINDS = {
    Client.leaves_waits: 1.0,
    Client.cuts_requests: 8.0,
    Client.writes_nonsense: 5.0,
    Client.is_refused: 5.0,
    Client.reads_ranges: 0.5,
    Client.walks_lists: 1.0,
    Client.cancels_many: 0.3,
    Client.awaits_many: 0.5,
    Client.uses_keys_twice: 1.0,
    Client.fetches_oddly: 2.0,
    Client.writes_slowly: 0.5,
    Client.reads_slowly: 0.3,
    Client.watches: 0.5,
    Client.reloads: 0.3,
}


class Clients:
    """All of them, and what they found. The lock guards counts and faults."""

    def __init__(self, server, url, directory, rate, head_seconds):
        self.server = server
        self.url = url
        self.directory = directory
        self.pace = rate / 100
        self.head_seconds = head_seconds
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.counts = {}
        self.faults = []
        self.reload_count = 0
        self.threads = []

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def fault(self, text):
        with self.lock:
            self.faults.append(text)

    @property
    def acknowledged(self):
        return self.counts.get("acknowledged", 0)

    @property
    def removed(self):
        return self.counts.get("removed", 0)

    def reload(self):
        self.reload_count += 1
        write_settings(self.directory, self.reload_count)
        self.server.child.send_signal(signal.SIGHUP)

    def summary(self):
        return ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in sorted(self.counts.items())
                         if what not in ("acknowledged", "removed"))

    def live(self, kind, a_second, number):
        client = Client(self, kind.__name__.replace("_", " "), number)
        begin, times = time.monotonic(), 0
        while not self.over.is_set():
            try:
                kind(client)
            except (OSError, http.client.HTTPException) as error:
                client.fault(f"{type(error).__name__}: {error}")
                client.connection = None
            self.count(kind.__name__)
            times += 1
            # Behind its time, it goes on from here; it does not hurry.
            rest = begin + times / (a_second * self.pace) - time.monotonic()
            if rest < 0:
                begin -= rest
            else:
                self.over.wait(rest)

    def start(self):
        self.over.clear()
        self.threads = [threading.Thread(target=self.live, args=(kind, a_second, number), daemon=True)
                        for number, (kind, a_second) in enumerate(KINDS.items())]
        for thread in self.threads:
            thread.start()

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def go(self, seconds):
        self.start()
        time.sleep(seconds)
        self.end()
