//! Servers that never end, lie about what they send, or break off.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::*;

/// Writes `piece` for ever after `start`, counting; ends when the other side has gone.
async fn endless(start: &'static [u8], piece: Vec<u8>) -> (scripted::Server, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let server = scripted::tcp(move |_, mut stream| {
        let (piece, counter) = (piece.clone(), Arc::clone(&counter));
        async move {
            scripted::read_head(&mut stream).await;
            let _ = stream.write_all(start).await;
            while stream.write_all(&piece).await.is_ok() {
                counter.fetch_add(piece.len(), Ordering::SeqCst);
            }
        }
    })
    .await;
    (server, sent)
}

async fn says(bytes: impl Into<Vec<u8>>) -> scripted::Server {
    let bytes = bytes.into();
    scripted::http(move |_| bytes.clone()).await
}

async fn fails(bytes: impl Into<Vec<u8>>) -> Failure {
    get(says(bytes).await.url("/")).await.unwrap_err()
}

#[tokio::test]
async fn an_endless_body_is_read_to_the_cap() {
    let (server, _) = endless(b"HTTP/1.1 200 OK\r\n\r\n", vec![b'x'; 16 * 1024]).await;
    let response = get(server.url("/")).await.unwrap();
    assert_eq!((response.body.len(), response.truncated), (1024 * 1024, true));
    let (server, _) =
        endless(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"4\r\nabcd\r\n".repeat(1_000)).await;
    let response = get(server.url("/")).await.unwrap();
    assert_eq!((response.body.len(), response.truncated), (1024 * 1024, true));
}

#[tokio::test]
async fn an_endless_head_ends_at_its_cap() {
    for (start, piece) in [
        (&b"HTTP/1.1 200 OK\r\n"[..], b"x-header: value\r\n".to_vec()),
        (b"HTTP/1.1 200 OK\r\nx-header: ", vec![b'x'; 1024]),
        (b"HTTP/1.1 200 ", vec![b'x'; 1024]),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        (b"", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".to_vec()),
    ] {
        let (server, _) = endless(start, piece).await;
        let failure = get(server.url("/")).await.unwrap_err();
        assert_eq!((failure.reason, failure.phase), (Reason::Ours, Phase::Processing), "{failure:?}");
        assert!(failure.what.contains("longer than 64.0 KiB"), "{failure:?}");
    }
}

#[tokio::test]
async fn silence_ends_at_the_deadline_and_says_where() {
    let drip = |start: &'static [u8]| {
        scripted::tcp(move |_, mut stream: TcpStream| async move {
            scripted::read_head(&mut stream).await;
            let _ = stream.write_all(start).await;
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            while stream.write_all(if start.is_empty() { b"" } else { b"x" }).await.is_ok() {
                tick.tick().await;
            }
        })
    };
    for (start, phase, what) in [
        (&b""[..], Phase::Processing, "no byte in"),
        (b"HTTP/1.1 200 OK\r\nx: ", Phase::Processing, "head did not end in"),
        (b"HTTP/1.1 200 OK\r\n\r\n", Phase::Transfer, "did not end in"),
    ] {
        let server = drip(start).await;
        let failure = client().send(Request::get(server.url("/"), shortly())).await.unwrap_err();
        assert_eq!((failure.reason, failure.phase), (Reason::Timeout, phase), "{failure:?}");
        assert!(failure.what.contains(what), "{failure:?}");
        assert!(failure.timings.connect.is_some());
    }
}

#[tokio::test]
async fn broken_answers_are_named() {
    for (bytes, phase, what) in [
        (&b""[..], Phase::Processing, "connection closed before any answer"),
        (b"HTTP/1.1 200 OK\r\nx: ", Phase::Processing, "connection closed within the answer's head"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Phase::Processing, "not HTTP"),
        (b"220 mail.example ESMTP\r\n\r\n", Phase::Processing, "not HTTP"),
        (b"HTTP/1.1 \x1b[2J OK\r\n\r\n", Phase::Processing, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd", Phase::Processing, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", Phase::Transfer, "connection closed within the body"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", Phase::Transfer, "within the body"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n", Phase::Transfer, "within the body"),
    ] {
        let failure = fails(bytes).await;
        assert_eq!((failure.reason, failure.phase), (Reason::Service, phase), "{bytes:?}: {failure:?}");
        assert!(failure.what.contains(what), "{failure:?}");
    }
}

#[tokio::test]
async fn a_reset_is_the_services() {
    for (start, phase) in
        [(&b""[..], Phase::Processing), (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", Phase::Transfer)]
    {
        let server = scripted::tcp(move |_, mut stream| async move {
            // Closing with unread bytes in the buffer is a reset.
            let _ = stream.write_all(start).await;
            let _ = stream.readable().await;
            let _ = stream.set_zero_linger();
            drop(stream);
        })
        .await;
        let failure = get(server.url("/")).await.unwrap_err();
        assert_eq!(failure.reason, Reason::Service, "{failure:?}");
        // The reset may overtake the first bytes.
        assert!(failure.phase == phase || failure.phase == Phase::Processing, "{failure:?}");
        assert!(failure.what.starts_with("connection "), "{failure:?}");
    }
}

fn labelled(label: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {label}\r\ncontent-length: {}\r\n\r\n", bytes.len());
    [head.as_bytes(), bytes].concat()
}

#[tokio::test]
async fn a_bomb_stops_at_the_cap() {
    let zeros = vec![0; 64 * 1024 * 1024];
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&zeros).unwrap();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(&zeros).unwrap();
    for (label, bytes) in [("gzip", gzip.finish().unwrap()), ("deflate", zlib.finish().unwrap())] {
        let response = get(says(labelled(label, &bytes)).await.url("/")).await.unwrap();
        assert_eq!((response.body.len(), response.truncated), (1024 * 1024, true), "{label}");
    }
    // Stored blocks of length 0 unfold to nothing, for ever.
    let (server, sent) =
        endless(b"HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\n\r\n\x78\x01", b"\x00\x00\x00\xff\xff".repeat(4_096))
            .await;
    let response = get(server.url("/")).await.unwrap();
    assert_eq!((response.body.len(), response.truncated), (0, true));
    assert!(sent.load(Ordering::SeqCst) < 16 * 1024 * 1024);
}

#[tokio::test]
async fn a_body_that_is_not_what_its_label_says_fails() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all("hello".repeat(1_000).as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all("hello".repeat(1_000).as_bytes()).unwrap();
    let zlib = zlib.finish().unwrap();
    let mut wrong_sum = gzip.clone();
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 0xff;
    for (label, bytes, what) in [
        ("gzip", &b"plain text"[..], "labelled gzip and isn't"),
        ("gzip", &gzip[..gzip.len() / 2], "cut short or damaged"),
        ("gzip", &gzip[..gzip.len() - 4], "cut short or damaged"),
        ("gzip", &wrong_sum, "labelled gzip"),
        ("deflate", &b"plain text"[..], "labelled deflate and isn't"),
        ("deflate", &zlib[..zlib.len() / 2], "cut short or damaged"),
        ("deflate", &zlib[..1], "cut short or damaged"),
    ] {
        let failure = fails(labelled(label, bytes)).await;
        assert_eq!((failure.reason, failure.phase), (Reason::Service, Phase::Transfer), "{label} {failure:?}");
        assert!(failure.what.contains(what), "{label}: {failure:?}");
    }
    // Nothing at all is nothing, however it is labelled.
    assert!(get(says(labelled("gzip", b"")).await.url("/")).await.unwrap().body.is_empty());
}

#[tokio::test]
async fn a_coding_that_was_not_asked_for_is_said_to_be_unread() {
    for (label, unread) in [("br", "br"), ("zstd", "zstd"), ("gzip, gzip", "gzip and gzip")] {
        let response = get(says(labelled(label, b"abc")).await.url("/")).await.unwrap();
        assert_eq!(response.unread_coding.as_deref(), Some(unread));
        assert!(response.truncated && response.body.is_empty());
    }
}
