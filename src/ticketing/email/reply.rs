//! Replies: what somebody wrote who answers a mail, without the mail that they answer.

/// Words with which a reply says that nothing is better.
const STILL_BROKEN: &[&str] = &["still broken", "still not working", "still failing"];

/// The text without what it quotes and without a signature; the whole text where nothing else is left.
pub(super) fn own_words(text: &str) -> String {
    let mut own: Vec<&str> = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with('>') {
            continue;
        }
        if *line == "-- " || *line == "--" || begins_quote(line, lines.get(at + 1).copied()) {
            break;
        }
        own.push(line.trim_end());
    }
    let own = own.join("\n").trim().to_owned();
    if own.is_empty() { text.trim().to_owned() } else { own }
}

/// True for the line that mail programs write above what they quote.
fn begins_quote(line: &str, next: Option<&str>) -> bool {
    let line = line.trim();
    if line.starts_with("-----Original") || line.starts_with("-----Urspr") || line.starts_with("________________") {
        return true;
    }
    // `On Wed, 18 Nov 2026, Kim wrote:`, `Am 18.11.2026 schrieb Kim:`, `Le 18 nov. 2026, Kim a écrit :`
    let is_quoted = next.is_none_or(|next| next.trim().is_empty() || next.starts_with('>'));
    let of_somebody = ["On ", "Am ", "Le ", "El "].iter().any(|word| line.starts_with(word));
    of_somebody && line.ends_with(':') && is_quoted
}

/// True where the reporter says that it is still broken.
pub(super) fn says_still_broken(own: &str) -> bool {
    let start: String = own.chars().take(32).collect::<String>().to_lowercase();
    STILL_BROKEN.iter().any(|words| start.starts_with(words))
}
