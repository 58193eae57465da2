#!/usr/bin/env python3
"""Fetches the URLs given through a fetchpool server and prints "STATUS BYTES URL" for each, in the order they finish.

Needs the standard library alone. Exit status: 0 when all succeeded, 1 when one failed, 2 when the server could not be asked.
"""
import json
import os
import sys
import urllib.error
import urllib.request

SERVER = os.environ.get("FETCHPOOL", "http://localhost:8080")


def die(message):
    print(message, file=sys.stderr)
    sys.exit(2)


def post(path, value):
    request = urllib.request.Request(SERVER + path, json.dumps(value).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=90) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        die(json.load(error)["detail"])
    except OSError as error:
        die(f"{SERVER}: {error}")


def main(urls):
    if not urls:
        die("usage: fetch.py URL...")
    pending = [post("/v1/jobs", {"url": url, "timeout": "10s"})["id"] for url in urls]
    failed = False
    while pending:
        answer = post("/v1/wait?body=none", {"ids": pending[:1000], "mode": "any", "timeout": "30s"})
        for job in answer["finished"]:
            url = job["request"]["url"]
            if job["state"] == "succeeded":
                print(job["response"]["status"], job["response"]["body_bytes"], url, flush=True)
            else:
                failed = True
                print(job["error"]["code"] if job["error"] else job["state"], 0, url, flush=True)
        pending = answer["pending"] + pending[1000:]
    return 1 if failed else 0


sys.exit(main(sys.argv[1:]))
