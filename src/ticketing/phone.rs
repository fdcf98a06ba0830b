//! `phone`: calls, as an answering service tells of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, Hook, Incoming, Received, Reference, Refused, SystemKind, TicketSystem, What, check_keys, keys,
    signed_as_ours, text_at,
};
use crate::model::delivery::{Message, Outcome};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::text::Untrusted;
use crate::model::ticket::Report;
use crate::net::outgoing::{Sending, Wires};
use crate::net::signature::verifies_sha1;
use crate::yaml;

pub static PHONE: SystemKind = SystemKind {
    name: "phone",
    summary: "calls, as an answering service tells of them",
    docs: "Keys: `secrets` (1 to 3 keys of at least 16 bytes, as `{ env: NAME }` or `{ file: path }`; any of them may \
           sign). \
           A form, as Twilio posts it for `<Record action>`, `<Gather>` and `transcribeCallback`, is signed with \
           `X-Twilio-Signature` by the account's auth token over the address, so that `listen.public_url` must be what \
           Twilio was given before `/hooks/NAME`. A call with a `RecordingUrl`, a `SpeechResult` or a \
           `TranscriptionText` is a ticket whose id is its `CallSid`; a transcription that comes after its recording is \
           a comment. Other calls are ignored. The answer is an empty `<Response/>`, which ends the call. \
           JSON from anybody else is an object with `id`, `from` (the number to call back), and as they are known \
           `name`, `title`, `text`, `service`, `customer`, `since`, `to`, and `voicemail: true` or `recording_url`; it \
           is signed as for `webhook`. \
           Contact: the number. By `fields`: `From`, `To`, `Digits`, `CallerName` of a form, and whatever JSON holds. \
           A voicemail is told to humans at once, before anything is looked at: nobody has spoken to the customer yet. \
           Nothing is written back.",
    example: "{ secrets: [{ env: HOUSTON_DESK_SECRET }] }",
    payload: r#"{"id":"call-4711","from":"+49 89 1234","name":"Kim of Acme","text":"the checkout fails","service":"checkout","recording_url":"https://calls.example.com/4711.wav"}"#,
    headers: &[],
    read: |node| Ok(Arc::new(read(node)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Phone {
    secrets: Vec<SecretRef>,
}

fn read(node: &yaml::Node) -> Result<Phone, Diagnostic> {
    let phone: Phone = node.read()?;
    check_keys(node.get("secrets").unwrap_or(node), &phone.secrets)?;
    Ok(phone)
}

impl TicketSystem for Phone {
    fn verify(&self, hook: &Hook<'_>, wires: &Wires) -> Result<(), Refused> {
        let keys = keys(&self.secrets, wires)?;
        let Some(signature) = hook.header("x-twilio-signature") else { return signed_as_ours(hook, &keys) };
        let url = hook.url.ok_or_else(|| {
            Refused::NoSecret("the signature is over our address: `listen.public_url` is missing".to_owned())
        })?;
        if verifies_sha1(&keys, &signed(url, hook.body), signature) { Ok(()) } else { Err(Refused::NotSigned) }
    }

    fn read(&self, hook: &Hook<'_>) -> Result<Received, Refused> {
        if hook.body.trim_ascii_start().starts_with(b"{") { json_call(&hook.json()?) } else { form_call(hook) }
    }

    fn annotate<'a>(&'a self, _message: Message<'a>, _wires: &'a Wires) -> Sending<'a> {
        Box::pin(std::future::ready(Outcome::rejected("a call has no place for a note")))
    }

    fn takes_notes(&self) -> bool {
        false
    }

    fn belongs_to(&self, incoming: &Incoming) -> Vec<Reference> {
        vec![Reference::Id(incoming.id.clone())]
    }

    fn urgent(&self, incoming: &Incoming) -> Option<&'static str> {
        let is_voicemail = incoming.payload["voicemail"] == true;
        is_voicemail.then_some("a voicemail: nobody has spoken to the customer yet")
    }

    fn answer(&self, hook: &Hook<'_>, _received: &Received, _numbers: &[u64]) -> Option<Answer> {
        hook.header("x-twilio-signature")?;
        let body = r#"<?xml version="1.0" encoding="UTF-8"?><Response/>"#.to_owned();
        Some(Answer { content_type: "text/xml", body })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.secrets.clone()
    }
}

/// What Twilio signs: the address, then each field's name and value, sorted, without anything between.
fn signed(url: &str, body: &[u8]) -> Vec<u8> {
    let fields: BTreeSet<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
    let mut bytes = url.as_bytes().to_vec();
    for (name, value) in fields {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes
}

fn form_call(hook: &Hook<'_>) -> Result<Received, Refused> {
    let form = hook.form();
    let of = |name: &str| form.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
    let id = of("CallSid").ok_or_else(|| Refused::Unreadable("`CallSid` is missing".to_owned()))?;
    let (recording, transcription) = (of("RecordingUrl"), of("TranscriptionText"));
    let text = transcription.or(of("SpeechResult"));
    if recording.is_none() && text.is_none() {
        return Ok(Received::ignored("a call without a message"));
    }
    let from = of("From").unwrap_or("an unknown number");
    let mut payload = json!(form);
    payload["voicemail"] = recording.is_some().into();
    let call = Call { from, name: of("CallerName"), text, recording, title: None, is_voicemail: recording.is_some() };
    let what = match transcription {
        // It comes after the recording that made the ticket.
        Some(text) => What::Commented { by: Some(Untrusted::new(from)), text: Untrusted::new(text) },
        None => What::Opened,
    };
    let incoming = Incoming { id: id.to_owned(), what, report: call.report(), payload };
    Ok(Received { incoming: vec![incoming], ..Received::default() })
}

fn json_call(payload: &Value) -> Result<Received, Refused> {
    let of = |name: &str| text_at(payload, name);
    let missing = |name: &str| Refused::Unreadable(format!("`{name}` is missing"));
    let (id, from) = (of("id").ok_or_else(|| missing("id"))?, of("from").ok_or_else(|| missing("from"))?);
    let (name, text, title, recording) = (of("name"), of("text"), of("title"), of("recording_url"));
    let is_voicemail = recording.is_some() || payload["voicemail"] == true;
    let call = Call {
        from: &from,
        name: name.as_deref(),
        text: text.as_deref(),
        recording: recording.as_deref(),
        title: title.as_deref(),
        is_voicemail,
    };
    let mut report = call.report();
    report.customer = of("customer").map(|name| Untrusted::bounded(name, 256));
    report.services = of("service").filter(|name| name.len() <= 128).into_iter().collect();
    report.since = of("since").and_then(|since| super::parse_time(&since));
    let mut payload = payload.clone();
    payload["voicemail"] = is_voicemail.into();
    let incoming = Incoming { id, what: What::Opened, report, payload };
    Ok(Received { incoming: vec![incoming], ..Received::default() })
}

struct Call<'a> {
    from: &'a str,
    name: Option<&'a str>,
    text: Option<&'a str>,
    recording: Option<&'a str>,
    title: Option<&'a str>,
    is_voicemail: bool,
}

impl Call<'_> {
    fn report(&self) -> Report {
        let who = self.name.map_or_else(|| self.from.to_owned(), |name| format!("{name}, {}", self.from));
        let sort = if self.is_voicemail { "voicemail" } else { "call" };
        let title = match self.title.or(self.text.and_then(|text| text.lines().next())) {
            Some(said) => format!("{sort} from {who}: {said}"),
            None => format!("{sort} from {who}"),
        };
        Report {
            title: Some(Untrusted::new(title)),
            text: self.text.map(Untrusted::new),
            reporter: Some(Untrusted::bounded(who, 256)),
            contact: Some(Untrusted::bounded(self.from, 256)),
            url: self.recording.map(Untrusted::new),
            ..Report::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::tests::{deliver, desk, hook, wires};
    use super::*;
    use crate::model::letter::hostile::HOSTILE;

    const TEXT: &str = "{ secrets: [{ env: DESK_SECRET }] }";
    const URL: &str = "https://houston.example.com/hooks/phone?line=1";
    const FORM: &str = "CallSid=CA1&From=%2B4989123&To=%2B4989999&Caller=%2B4989123&RecordingUrl=https%3A%2F%2Fapi.twilio.com%2Fr&Digits=12%203";

    fn signed_with(signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-twilio-signature", signature.parse().unwrap());
        headers
    }

    #[test]
    fn a_form_is_signed_over_the_address_and_the_sorted_fields() {
        let desk = desk("phone", TEXT);
        // printf '%s' "$URL" CallSidCA1 Caller+4989123 'Digits12 3' From+4989123 \
        //   RecordingUrlhttps://api.twilio.com/r To+4989999 | openssl dgst -sha1 -hmac desk-secret-0123456789 -binary | base64
        let good = signed_with("rpycz2MRLxNQoRV/94oi9uC5AAM=");
        let asked = |headers: &HeaderMap, url: Option<&str>, body: &str| {
            let hook = Hook { url, ..hook(headers, body.as_bytes()) };
            desk.system.verify(&hook, &wires())
        };
        assert_eq!(asked(&good, Some(URL), FORM), Ok(()));
        assert_eq!(asked(&good, Some(URL), &FORM.replace("CA1", "CA2")), Err(Refused::NotSigned));
        assert_eq!(asked(&good, Some("https://houston.example.com/hooks/phone"), FORM), Err(Refused::NotSigned));
        assert_eq!(asked(&signed_with("AAAA"), Some(URL), FORM), Err(Refused::NotSigned));
        assert_eq!(asked(&HeaderMap::new(), Some(URL), FORM), Err(Refused::NotSigned));
        assert!(matches!(asked(&good, None, FORM), Err(Refused::NoSecret(why)) if why.contains("public_url")));
    }

    #[test]
    fn a_voicemail_is_urgent_and_its_transcription_a_comment() {
        let desk = desk("phone", TEXT);
        let received = deliver(&desk, FORM).unwrap();
        let [call] = received.incoming.as_slice() else { panic!("{received:?}") };
        assert_eq!((call.id.as_str(), &call.what), ("CA1", &What::Opened));
        assert!(desk.system.urgent(call).unwrap().contains("nobody has spoken"));
        let ticket = desk.ticket(call, hook(&HeaderMap::new(), b"").now).unwrap();
        assert_eq!((ticket.title.raw(), ticket.contact.unwrap().raw()), ("voicemail from +4989123", "+4989123"));
        let words =
            deliver(&desk, "CallSid=CA1&From=%2B4989123&TranscriptionText=it+fails&RecordingUrl=https%3A%2F%2Fa")
                .unwrap();
        assert!(matches!(&words.incoming[0].what, What::Commented { text, .. } if text.raw() == "it fails"));
        assert_eq!(desk.system.belongs_to(&words.incoming[0]), [Reference::Id("CA1".to_owned())]);
        let spoken = deliver(&desk, "CallSid=CA2&From=%2B4989123&SpeechResult=it+fails").unwrap();
        assert_eq!(desk.system.urgent(&spoken.incoming[0]), None);
        assert!(deliver(&desk, "CallSid=CA3&CallStatus=completed").unwrap().ignored.is_some());
        assert!(matches!(deliver(&desk, "From=1"), Err(Refused::Unreadable(_))));
        let good = signed_with("x");
        let answer = desk.system.answer(&hook(&good, b""), &Received::default(), &[1]).unwrap();
        assert!(answer.body.ends_with("<Response/>"));
    }

    #[test]
    fn json_makes_the_same_ticket_and_hostile_text_stays_text() {
        let desk = desk("phone", TEXT);
        let now = hook(&HeaderMap::new(), b"").now;
        for text in HOSTILE {
            let body = json!({ "id": "7", "from": "+49 1", "title": text, "voicemail": false, "service": "checkout" });
            let received = deliver(&desk, &body.to_string()).unwrap();
            let ticket = desk.ticket(&received.incoming[0], now).unwrap();
            assert_eq!(ticket.title.raw(), format!("call from +49 1: {text}"));
            assert_eq!(
                (desk.system.urgent(&received.incoming[0]), ticket.services),
                (None, vec!["checkout".to_owned()])
            );
        }
        for wrong in [r#"{"id":"1"}"#, r#"{"from":"1"}"#, "{", "[]"] {
            assert!(matches!(deliver(&desk, wrong), Err(Refused::Unreadable(_))), "{wrong}");
        }
    }
}
