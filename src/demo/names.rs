//! The shop's own name server: it knows `shop.example`, and nothing else (RFC 1035, over UDP).

use std::net::Ipv4Addr;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::secure::NAME;

/// The largest question that is read, in bytes (RFC 1035 §4.2.1).
const LARGEST: usize = 512;
/// How long an answer may be kept, in seconds.
const LIFETIME: u32 = 60;
const TYPE_A: u16 = 1;
const NO_SUCH_NAME: u8 = 3;
const REFUSED: u8 = 5;

/// Answers until told to stop.
pub fn serve(socket: UdpSocket, stopping: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut buffer = [0_u8; LARGEST];
        loop {
            let received = tokio::select! {
                received = socket.recv_from(&mut buffer) => received,
                () = stopping.cancelled() => return,
            };
            if let Ok((length, peer)) = received
                && let Some(answer) = answer(&buffer[..length])
            {
                // A lost answer is asked for again.
                let _ = socket.send_to(&answer, peer).await;
            }
        }
    })
}

/// The answer to a question; none to what is no question.
fn answer(message: &[u8]) -> Option<Vec<u8>> {
    let header = message.get(..12)?;
    let is_question = header[2] & 0x80 == 0;
    let questions = u16::from_be_bytes([header[4], header[5]]);
    if !is_question || questions != 1 {
        return None;
    }
    let (name, end) = name(message, 12)?;
    let kind = u16::from_be_bytes([*message.get(end)?, *message.get(end + 1)?]);
    let asked = message.get(12..end + 4)?;
    let is_query = header[2] & 0x78 == 0;
    let known = name.eq_ignore_ascii_case(NAME) || name.eq_ignore_ascii_case(&format!("www.{NAME}"));
    let code = match (is_query, known) {
        (false, _) => REFUSED,
        (true, true) => 0,
        (true, false) => NO_SUCH_NAME,
    };
    let has_address = code == 0 && kind == TYPE_A;
    let mut out = Vec::with_capacity(LARGEST);
    out.extend_from_slice(&header[..2]);
    // An authoritative answer; recursion is mirrored as wished, and not available.
    out.extend_from_slice(&[0x84 | (header[2] & 0x01), code]);
    out.extend_from_slice(&[0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
    out.extend_from_slice(asked);
    if has_address {
        out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]); // the name asked for, type A, class IN
        out.extend_from_slice(&LIFETIME.to_be_bytes());
        out.extend_from_slice(&[0, 4]);
        out.extend_from_slice(&Ipv4Addr::LOCALHOST.octets());
    }
    Some(out)
}

/// The name that begins at `start`, and where it ends. Names in questions are never compressed.
fn name(message: &[u8], start: usize) -> Option<(String, usize)> {
    let mut labels: Vec<String> = Vec::new();
    let mut at = start;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        match length {
            0 => return Some((labels.join("."), at)),
            1..=63 => labels.push(String::from_utf8_lossy(message.get(at..at + length)?).into_owned()),
            _ => return None,
        }
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(label.len() as u8);
            message.extend_from_slice(label.as_bytes());
        }
        message.push(0);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        message
    }

    #[test]
    fn it_knows_the_shop_and_nothing_else() {
        for (name, kind, code, answers) in [
            ("shop.example", 1, 0, 1),
            ("WWW.Shop.Example", 1, 0, 1),
            ("shop.example", 28, 0, 0),
            ("other.example", 1, 3, 0),
        ] {
            let answer = answer(&question(name, kind)).unwrap();
            assert_eq!((answer[3] & 0x0f, answer[7]), (code, answers), "{name}");
            assert_eq!(answer[..2], [0xab, 0xcd]);
        }
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        let mut answered = question("shop.example", 1);
        answered[2] |= 0x80;
        let mut long = question("shop.example", 1);
        long[12] = 0xc0;
        for message in [&[][..], &[0; 11], &answered, &long, &question("shop.example", 1)[..20]] {
            assert_eq!(answer(message), None);
        }
    }
}
