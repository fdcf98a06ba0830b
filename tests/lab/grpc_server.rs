//! A real gRPC server: Debian's python3-grpcio, with the health service in a few lines.
//!
//! Debian has no package of `grpc_health`, so the two small messages are written by hand there as well; the rest, HTTP/2,
//! deadlines and statuses, is gRPC's own C core.

use super::nginx::certificates;
use super::{Server, accepts, free_port, place};

/// A running server with a plain and a TLS port. `shop.v1.Cart` serves, `shop.v1.Pay` doesn't, `slow` waits for a minute,
/// every other one is unknown.
#[derive(Debug)]
pub struct GrpcServer {
    pub port: u16,
    pub tls_port: u16,
    pub server: Server,
}

const PROGRAM: &str = r#"
import sys, time, grpc
from concurrent import futures

HEALTH = {b"": 1, b"shop.v1.Cart": 1, b"shop.v1.Pay": 2}

def check(request, context):
    service = request[2:]
    if service == b"slow":
        end = time.monotonic() + 60
        while context.is_active() and time.monotonic() < end:
            time.sleep(0.05)
        print("given up" if not context.is_active() else "waited", flush=True)
        return b""
    if service not in HEALTH:
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return bytes([8, HEALTH[service]])

server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
methods = {"Check": grpc.unary_unary_rpc_method_handler(check)}
name = "grpc.health.v1.Health" if sys.argv[3] == "health" else "shop.v1.Other"
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
server.add_insecure_port("127.0.0.1:" + sys.argv[1])
pair = (open("key.pem", "rb").read(), open("chain.pem", "rb").read())
server.add_secure_port("127.0.0.1:" + sys.argv[2], grpc.ssl_server_credentials([pair]))
server.start()
server.wait_for_termination()
"#;

impl GrpcServer {
    pub fn start() -> GrpcServer {
        GrpcServer::with("health")
    }

    /// One that has no health service.
    pub fn without_health() -> GrpcServer {
        GrpcServer::with("other")
    }

    fn with(services: &str) -> GrpcServer {
        let place = place::new();
        let (port, tls_port) = (free_port(), free_port());
        certificates(place.path(), &["localhost"], 30);
        let arguments =
            ["-c".to_owned(), PROGRAM.to_owned(), port.to_string(), tls_port.to_string(), services.to_owned()];
        let ready = || accepts(port) && accepts(tls_port);
        GrpcServer { port, tls_port, server: Server::start("/usr/bin/python3", place, arguments, ready) }
    }

    /// The certificate of the authority that signed its own.
    pub fn authority(&self) -> std::path::PathBuf {
        self.server.directory().join("ca.pem")
    }
}
