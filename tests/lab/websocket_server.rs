//! A real WebSocket server: Debian's python3-websockets with a few lines that answer.

use super::{Server, accepts, free_port, place};

/// A running server: greets at `/live`, answers what is subscribed to, and closes with 1011 at `/broken`.
#[derive(Debug)]
pub struct WebsocketServer {
    pub port: u16,
    pub server: Server,
}

const PROGRAM: &str = r#"
import asyncio, json, sys, websockets

async def talk(socket, path):
    if path == "/broken":
        await socket.close(1011, "no stock today")
        return
    await socket.send("welcome")
    async for message in socket:
        await socket.send("you asked for " + json.loads(message)["subscribe"])

async def main():
    async with websockets.serve(talk, "127.0.0.1", int(sys.argv[1]), subprotocols=["stock.v2", "stock.v1"]):
        await asyncio.Future()

asyncio.run(main())
"#;

impl WebsocketServer {
    pub fn start() -> WebsocketServer {
        let port = free_port();
        let arguments = ["-c".to_owned(), PROGRAM.to_owned(), port.to_string()];
        let server = Server::start("/usr/bin/python3", place::new(), arguments, || accepts(port));
        WebsocketServer { port, server }
    }
}
