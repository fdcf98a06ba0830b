//! Whose process is at the other end of a loopback connection, by the kernel's table (proc(5), `/proc/net/tcp`).

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, SocketAddrV4};

/// Not `/proc/net`, which a sandbox may hide.
const TABLE: &str = "/proc/self/net/tcp";
/// What is read of it at most: some hundred thousand connections.
const MOST: u64 = 64 * 1024 * 1024;

/// True where the socket at `peer` that is connected to `here` belongs to the user that this process runs as. False
/// also where that can't be found out.
pub(super) async fn is_same_user(peer: SocketAddr, here: SocketAddr) -> bool {
    let (SocketAddr::V4(peer), SocketAddr::V4(here)) = (peer, here) else { return false };
    let found = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(TABLE).ok()?;
        let lines = BufReader::new(file.take(MOST)).lines();
        lines.map_while(Result::ok).find_map(|line| user(&line, peer, here))
    });
    found.await.ok().flatten() == Some(rustix::process::geteuid().as_raw())
}

/// The user's number in a line, where it is the line of an established connection from `local` to `remote`.
fn user(line: &str, local: SocketAddrV4, remote: SocketAddrV4) -> Option<u32> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let is_it = fields.next()? == spelt(local) && fields.next()? == spelt(remote) && fields.next()? == "01";
    // queues, timer, retransmits, then the user
    if is_it { fields.nth(3)?.parse().ok() } else { None }
}

/// An address as the table has it: the four bytes read as a number of this machine, in hexadecimal.
fn spelt(address: SocketAddrV4) -> String {
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_of_the_table_tells_the_user() {
        let established =
            "   4: 0100007F:A1B2 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 5 1 0";
        let waiting = established.replace(" 01 ", " 06 ");
        let (peer, here) = ("127.0.0.1:41394".parse().unwrap(), "127.0.0.1:8080".parse().unwrap());
        for (line, from, to, expected) in [
            (established, peer, here, Some(1000)),
            (established, here, peer, None),
            (waiting.as_str(), peer, here, None),
            ("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid", peer, here, None),
            ("", peer, here, None),
            ("   4: 0100007F:A1B2 0100007F:1F90 01", peer, here, None),
        ] {
            assert_eq!(user(line, from, to), expected, "{line}");
        }
    }

    #[tokio::test]
    async fn a_socket_of_ours_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let _client = tokio::net::TcpStream::connect(here).await.unwrap();
        let (_stream, peer) = listener.accept().await.unwrap();
        assert!(is_same_user(peer, here).await);
        assert!(!is_same_user("127.0.0.1:1".parse().unwrap(), here).await);
    }
}
