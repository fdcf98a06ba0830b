//! Cases as HTML pages. Every text goes through [`Page::text`], which escapes it; there is no other way in.

use crate::model::case::{Case, number_text};
use crate::model::encode::{is_unprintable, url_segment};
use crate::model::finding::Finding;
use crate::model::look::Outcome;
use crate::model::verdict::{Decision, Verdict};

use super::text::{answer, look_name};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;\
color:#1a1a1a;background:#fff}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;\
border-bottom:1px solid #ccc;vertical-align:top}pre{white-space:pre-wrap;background:#f3f3f3;padding:.6rem;\
overflow-wrap:anywhere}a{color:#0645ad}.issue,.bad{color:#a40000;font-weight:700}.no_issue,.good{color:#1b6b1b}\
.doubtful,.odd{color:#7a4d00;font-weight:700}.unknown{color:#555}\
@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}pre{background:#262626}a{color:#8ab4ff}\
th,td{border-color:#444}.issue,.bad{color:#ff9a8f}.no_issue,.good{color:#8fd694}.doubtful,.odd{color:#f0c36d}\
.unknown{color:#aaa}}";

struct Page(String);

impl Page {
    fn new(title: &str) -> Self {
        let mut page = Page("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">".to_owned());
        page.markup("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>");
        page.text(title).markup("</title><style>").markup(STYLE).markup("</style></head><body><main>");
        page
    }

    /// Our own markup: a literal, so that nothing from outside can be passed.
    fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text, from wherever it comes.
    fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(c),
                c if is_unprintable(c) => self.0.push_str(&format!("\\u{{{:x}}}", c as u32)),
                c => self.0.push(c),
            }
        }
        self
    }

    fn end(mut self) -> String {
        self.markup("</main></body></html>\n");
        self.0
    }
}

fn symbol(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Good => "✓ good",
        Outcome::Odd => "? odd",
        Outcome::Bad => "✗ bad",
        Outcome::Unknown => "· unknown",
        Outcome::NotApplicable => "– not applicable",
    }
}

fn shape(decision: Decision) -> &'static str {
    match decision {
        Decision::Issue => "◆ ISSUE",
        Decision::NoIssue => "○ NO ISSUE",
        Decision::Doubtful => "▲ DOUBTFUL",
    }
}

/// The newest cases, and what is not as it should be.
pub fn queue(cases: &[Case], troubles: &[String]) -> String {
    let mut page = Page::new("Houston");
    page.markup("<h1>Houston</h1>");
    if !troubles.is_empty() {
        page.markup("<h2>Wants attention</h2><ul>");
        for trouble in troubles {
            page.markup("<li>").text(trouble).markup("</li>");
        }
        page.markup("</ul>");
    }
    if cases.is_empty() {
        page.markup("<p>No tickets yet.</p>");
        return page.end();
    }
    page.markup("<table><thead><tr><th scope=\"col\">Verdict</th><th scope=\"col\">Ticket</th>");
    page.markup("<th scope=\"col\">Customer</th><th scope=\"col\">Services</th><th scope=\"col\">Accepted</th></tr></thead><tbody>");
    for case in cases {
        page.markup("<tr><td class=\"");
        match &case.verdict {
            Some(verdict) => page.text(verdict.decision.name()).markup("\">").text(shape(verdict.decision)),
            None => page.markup("unknown\">… running"),
        };
        let number = number_text(case.number);
        page.markup("</td><td><a href=\"/t/").text(&number).markup("\">").text(&number).markup("</a> ");
        page.text(case.ticket.title.raw()).markup("</td><td>");
        page.text(case.ticket.customer.as_ref().map_or("", |name| name.raw())).markup("</td><td>");
        let services = case.verdict.as_ref().map_or(&case.ticket.services, |verdict| &verdict.ticket.services);
        let at = case.accepted_at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        page.text(&services.join(", ")).markup("</td><td><time datetime=\"").text(&at).markup("\">").text(&at);
        page.markup("</time></td></tr>");
    }
    page.markup("</tbody></table>");
    page.end()
}

/// One case with its verdict and all its evidence.
pub fn case(case: &Case) -> String {
    let number = number_text(case.number);
    let mut page = Page::new(&format!("{number} {}", case.ticket.title.raw()));
    page.markup("<p><a href=\"/\">All tickets</a></p><h1>").text(&number).markup(" ");
    page.text(case.ticket.title.raw()).markup("</h1>");
    match &case.verdict {
        None => {
            page.markup("<p>Looks are under way. Load this page again in a few seconds.</p>");
        }
        Some(verdict) => answer_of(&mut page, verdict),
    }
    page.end()
}

fn answer_of(page: &mut Page, verdict: &Verdict) {
    page.markup("<p class=\"").text(verdict.decision.name()).markup("\">").text(shape(verdict.decision));
    page.markup(": ").text(&answer(verdict)).markup("</p>");
    list(page, "Why", &verdict.reasons);
    list(page, "Next", &verdict.next);
    list(page, "Not looked at", &verdict.coverage.not_looked_at);
    page.markup("<h2>Evidence</h2>");
    for (index, finding) in verdict.findings.iter().enumerate() {
        evidence(page, index + 1, finding);
    }
}

fn list(page: &mut Page, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    page.markup("<h2>").text(title).markup("</h2><ul>");
    for line in lines {
        page.markup("<li>").text(line).markup("</li>");
    }
    page.markup("</ul>");
}

fn evidence(page: &mut Page, number: usize, finding: &Finding) {
    let anchor = format!("ev-{number}");
    page.markup("<h3 id=\"").text(&anchor).markup("\">#").text(&number.to_string()).markup(" <span class=\"");
    page.text(finding.outcome.name()).markup("\">").text(symbol(finding.outcome)).markup("</span> ");
    page.text(&finding.check).markup("</h3><p>").text(look_name(finding.look)).markup(", ").text(&finding.kind);
    page.markup(", ").text(&finding.odds).markup(": ").text(&finding.headline()).markup("</p>");
    for (title, text) in [("Seen", &finding.excerpt), ("Look again", &finding.reproduce)] {
        if let Some(text) = text {
            page.markup("<p>").text(title).markup("</p><pre>").text(text).markup("</pre>");
        }
    }
    if let Some(name) = finding.picture.as_deref().and_then(|path| path.rsplit('/').next()) {
        page.markup("<p><a href=\"/evidence/").text(&url_segment(name)).markup("\">Screenshot</a></p>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::case::CaseState;
    use crate::model::ticket::Report;

    #[test]
    fn what_a_ticket_says_stays_text() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        for payload in [
            "<script>alert(1)</script>",
            "\"><img src=x onerror=alert(1)>",
            "<svg><animate onbegin=alert(1) attributeName=x>",
            "</title><script>1</script>",
            "'onmouseover='alert(1)",
            "javascript:alert(1)",
            "\u{202e}\u{1b}[2J",
        ] {
            let ticket = Report { title: Some(payload.into()), customer: Some(payload.into()), ..Report::default() };
            let ticket = ticket.accept(now, "1").unwrap();
            let case = Case {
                number: 1,
                ticket,
                accepted_at: now,
                round: 1,
                deadline_at: now,
                state: CaseState::Running,
                attempts: 0,
                verdict: None,
                filed_by: None,
            };
            for html in [super::case(&case), queue(std::slice::from_ref(&case), &[payload.to_owned()])] {
                for forbidden in ["<script", "<img", "<svg", "\u{202e}", "\u{1b}", "'onmouseover"] {
                    assert!(!html.contains(forbidden), "{payload}: {html}");
                }
            }
        }
    }
}
