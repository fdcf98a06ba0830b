//! A server that wants HTTP Digest and reckons for itself, in Python: another author's reading of RFC 7616.

use super::{Server, accepts, free_port, place};

/// A running server: `/md5`, `/sha256` and `/both` want the user `mallory`, whose password is `open sesame`. `/form`
/// answers what it read of a multipart form; `/job` is done when it is asked for the third time.
#[derive(Debug)]
pub struct DigestServer {
    pub port: u16,
    pub server: Server,
}

const PROGRAM: &str = r#"
import email, hashlib, http.server, json, os, re, sys

ALGORITHMS = {"/md5": ["MD5"], "/sha256": ["SHA-256"], "/both": ["MD5", "SHA-256"]}
HASH = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
NONCES = set()
ASKED = [0]

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body, *headers):
        body = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def logged_in(self, algorithms):
        said = self.headers.get("Authorization", "")
        if not said.startswith("Digest "):
            return None
        got = {name: quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', said)}
        if got["nonce"] not in NONCES or got["uri"] != self.path or got["algorithm"] not in algorithms:
            return None
        NONCES.discard(got["nonce"])
        h = lambda text: HASH[got["algorithm"]](text.encode()).hexdigest()
        secret, asked = h("mallory:books, \"rare\":open sesame"), h(self.command + ":" + self.path)
        right = h(":".join([secret, got["nonce"], got["nc"], got["cnonce"], got["qop"], asked]))
        return got["algorithm"] if right == got["response"] else None

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/job":
            ASKED[0] += 1
            return self.answer(200, {"state": "done" if ASKED[0] >= 3 else "queued", "asked": ASKED[0]}, ("X-Job", "job/17"))
        if path == "/moved":
            return self.answer(302, {}, ("Location", "/sha256?moved=1"))
        algorithms = ALGORITHMS.get(path)
        if algorithms is None:
            return self.answer(404, {})
        used = self.logged_in(algorithms)
        if used:
            length = int(self.headers.get("Content-Length", "0"))
            return self.answer(200, {"used": used, "sent": self.rfile.read(length).decode()})
        headers = []
        for algorithm in algorithms:
            nonce = os.urandom(8).hex()
            NONCES.add(nonce)
            headers.append(("WWW-Authenticate", 'Digest realm="books, \\"rare\\"", qop="auth", algorithm=%s, nonce="%s", opaque="o"' % (algorithm, nonce)))
        self.answer(401, {}, *headers)

    def do_POST(self):
        if self.path != "/form":
            return self.do_GET()
        head = b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n"
        form = email.message_from_bytes(head + self.rfile.read(int(self.headers["Content-Length"])))
        parts = [[p.get_param("name", header="content-disposition"), p.get_filename(), p.get_content_type(),
                  p.get_payload(decode=True).decode()] for p in form.get_payload()]
        self.answer(200, {"parts": parts})

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

impl DigestServer {
    pub fn start() -> DigestServer {
        let port = free_port();
        let arguments = ["-c", PROGRAM, &port.to_string()].map(str::to_owned);
        let server = Server::start("/usr/bin/python3", place::new(), arguments, || accepts(port));
        DigestServer { port, server }
    }
}
