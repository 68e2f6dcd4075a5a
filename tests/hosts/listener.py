# listener.py PORT FILE: a web server that answers everything with 200 and writes down the paths that it was asked for.
import http.server, sys

heard = open(sys.argv[2], "w", buffering=1)


class Listener(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        heard.write(self.path + "\n")
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Listener).serve_forever()
