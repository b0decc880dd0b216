#!/usr/bin/env python3
"""A server for test_fetch: fetch_server.py FOLDER [CERTIFICATE KEY]

Serves FOLDER/NAME as http://127.0.0.1:PORT/HOW/NAME, badly in the way HOW says; with a certificate
also over TLS. Prints both ports (0: no TLS), then one line for each request in FOLDER/log."""
import http.server
import os
import ssl
import sys
import threading

folder = sys.argv[1]
counts = {}
lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        how, _, name = self.path.lstrip("/").partition("/")
        with lock:
            n = counts[how] = counts.get(how, 0) + 1
            with open(os.path.join(folder, "log"), "a") as log:
                print(how, self.headers.get("Range", "-"), file=log)
        path = os.path.join(folder, name)
        if how == "to_http" or how == "to_file":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/plain/{name}"
                             if how == "to_http" else f"file://{path}")
            self.end_headers()
            return
        if how == "busy" and n <= 2:
            self.send_error(503)
            return
        if how == "down":
            self.send_error(500)
            return
        if not os.path.exists(path):
            self.send_error(404)
            return
        data = open(path, "rb").read()
        start = 0
        if how != "no_range" and (r := self.headers.get("Range")):
            start = int(r.split("=")[1].split("-")[0])
            if start >= len(data):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        body = data[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if how == "drops" and n <= 3:  # the line breaks, three times
            body = body[: len(body) // 2]
        if how == "cut":  # and for good
            body = body[:0] if start else body[: len(body) // 2]
        self.wfile.write(body)
        self.close_connection = True


plain = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=plain.serve_forever, daemon=True).start()
port = 0
if len(sys.argv) > 3:
    secure = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    port = secure.server_port
    threading.Thread(target=secure.serve_forever, daemon=True).start()
print(plain.server_port, port, flush=True)
sys.stdin.read()  # until the test goes away
