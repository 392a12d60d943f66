#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bookinfo-shaped applications: one small HTTP server for each pod.

Usage: apps.py IP:PORT=NAME[@VERSION]...

Each server answers as its application does: details and ratings with JSON,
reviews with JSON that names the pod's version, productpage with a page.  Prints
`ready` when all listen.
"""
import json
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler


def reviews(version):
    stars = {"v2": "black", "v3": "red"}.get(version)
    entries = [{"reviewer": "Reviewer1", "text": "A comedy with many doors."},
               {"reviewer": "Reviewer2", "text": "Twins, twice; confusion guaranteed."}]
    if stars:
        for entry, rating in zip(entries, (5, 4)):
            entry["rating"] = {"stars": rating, "color": stars}
    return {"id": "0", "podname": "reviews-" + version, "reviews": entries}


PAGES = {
    "details": lambda version: {"id": 0, "author": "William Shakespeare", "year": 1595, "type": "paperback"},
    "ratings": lambda version: {"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}},
    "reviews": reviews,
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # head and body in one write

    def answer(self):
        length = int(self.headers.get("content-length") or 0)
        self.rfile.read(length)
        page = PAGES.get(self.server.app)
        if page:
            body = json.dumps(page(self.server.version)).encode()
            kind = "application/json"
        else:
            body = b"<!doctype html><title>Simple Bookstore App</title><h1>The Comedy of Errors</h1>\n"
            kind = "text/html"
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-pod", "%s-%s" % (self.server.app, self.server.version))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *args):
        pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512


def main(specs):
    for spec in specs:
        address, name = spec.split("=", 1)
        ip, port = address.rsplit(":", 1)
        server = Server((ip, int(port)), Handler)
        server.app, _, version = name.partition("@")
        server.version = version or "v1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
