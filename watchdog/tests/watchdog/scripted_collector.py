"""An OTLP/HTTP collector of a few lines that can misbehave: what comes in goes on to the far tap.

    python3 scripted_collector.py PORT FILE

FILE holds the far tap's host:port and is read for every request. SIGUSR1: take everything and lose
it (again: carry again). SIGUSR2: turn every digit of what is carried into a 7 (again: leave it).
"""

import http.client
import pathlib
import re
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ails = {"drops": False, "forges": False}


def toggle(name):
    def handler(*_):
        ails[name] = not ails[name]

    return handler


class FrontDoor(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if ails["forges"]:
            # The digits of the value; lengths stay as they are.
            body = re.sub(rb"[0-9]{15,}", lambda found: b"7" * len(found[0]), body)
        if not ails["drops"]:
            self.carry(body)
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def carry(self, body):
        far_tap = pathlib.Path(sys.argv[2]).read_text().strip()
        try:
            onwards = http.client.HTTPConnection(far_tap, timeout=2)
            onwards.request("POST", self.path, body, {"content-type": "application/x-protobuf"})
            onwards.getresponse().read()
            onwards.close()
        except OSError:
            pass

    def log_message(self, *_):
        pass


# Whoever forgets it is not left with it.
signal.alarm(300)
signal.signal(signal.SIGUSR1, toggle("drops"))
signal.signal(signal.SIGUSR2, toggle("forges"))
ThreadingHTTPServer.allow_reuse_address = True
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), FrontDoor).serve_forever()
