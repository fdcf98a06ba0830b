//! A letter that is cut to what a medium takes: whole items go, from the end, and it says that they went.

use super::{Letter, Medium, Part};

/// The field that says so.
const CUT: &str = "Cut";
const REST: &str = "this is not all of it; the rest is in Houston";

/// A headline of so many characters is kept as long as there are links to give up.
const HEADLINE: usize = 120;

/// As much of the key is shown to people, in characters.
const MARK: usize = 12;

impl Letter {
    /// The letter as it is, where it `fits`; else as much of it as fits, and a note that the rest is in Houston. Items
    /// of lists go first, then fields, each from the end, then the headline is shortened, and links go last. What is cut
    /// is the text before it is encoded, so that no markup is ever cut in two.
    pub fn fitted(&self, fits: impl Fn(&Letter) -> bool) -> Letter {
        if fits(self) {
            return self.clone();
        }
        let mut cut = self.clone();
        let links = cut.parts.iter().position(|part| matches!(part, Part::Link { .. })).unwrap_or(cut.parts.len());
        cut.parts.insert(links, Part::Field { name: CUT, value: REST.to_owned() });
        while !fits(&cut) && cut.shorten() {}
        cut
    }

    /// The headline in bold, in at most so many bytes where these are at least 100.
    pub fn head_within(&self, medium: Medium, bytes: usize) -> String {
        let mut headline = self.headline.clone();
        while medium.bold(&headline).len() > bytes && halve(&mut headline) {}
        medium.bold(&headline)
    }

    /// Names the ticket and, by the beginning of its key, this message: whoever sees it twice knows that it is one.
    pub fn mark(&self) -> String {
        let key: String = self.key.chars().take(MARK).collect();
        format!("{} {key}", self.thread)
    }

    /// One thing less; false where there is none left to go.
    fn shorten(&mut self) -> bool {
        let list = self.parts.iter().rposition(|part| matches!(part, Part::List { .. }));
        if let Some(at) = list {
            if let Some(Part::List { items, .. }) = self.parts.get_mut(at) {
                items.pop();
                if !items.is_empty() {
                    return true;
                }
            }
            self.parts.remove(at);
            return true;
        }
        let field = |part: &Part| matches!(part, Part::Field { name, .. } if *name != CUT);
        if let Some(at) = self.parts.iter().rposition(field) {
            self.parts.remove(at);
            return true;
        }
        if self.headline.chars().count() > HEADLINE {
            return halve(&mut self.headline);
        }
        match self.parts.iter().rposition(|part| matches!(part, Part::Link { .. })) {
            Some(at) => {
                self.parts.remove(at);
                true
            }
            None => halve(&mut self.headline),
        }
    }
}

/// Leaves the first half of a text; false where it is too short for that.
fn halve(text: &mut String) -> bool {
    let characters = text.chars().count();
    if characters < 8 {
        return false;
    }
    *text = text.chars().take(characters / 2).collect();
    text.push('…');
    true
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::model::action::{Action, ActionKind};
    use crate::model::letter::Links;
    use crate::model::letter::hostile::HOSTILE;

    fn letter(title: &str) -> Letter {
        let facts = json!({ "verdict": "issue", "summary": title, "reasons": vec![title; 8], "next": vec![title; 8],
            "ticket": { "title": title, "customer": title } });
        let action = Action::new(7, 1, ActionKind::Page, "chat", "ops", facts, Timestamp::UNIX_EPOCH);
        Letter::of(&action, Some(&Links::new("https://houston.example.com")))
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        let letter = letter("checkout fails");
        assert_eq!(letter.fitted(|letter| letter.write(Medium::Plain).len() <= 3_000), letter);
    }

    #[test]
    fn what_is_cut_fits_and_says_so() {
        let long = "long ".repeat(200);
        for title in HOSTILE.iter().copied().chain([long.as_str()]) {
            for medium in Medium::ALL {
                for bytes in [300, 1_000, 3_000] {
                    let whole = letter(title);
                    let cut = whole.fitted(|letter| letter.write(medium).len() <= bytes);
                    let text = cut.write(medium);
                    assert!(text.len() <= bytes, "{medium:?}: {text}");
                    assert!(cut == whole || text.contains("the rest is in Houston"), "{medium:?}: {text}");
                    assert!(cut.head_within(medium, 100).len() <= 100);
                }
                let cut = letter(title).fitted(|letter| letter.write(medium).len() <= 1_000);
                assert_eq!(cut.links().next().unwrap().1, "https://houston.example.com/t/T-7", "links go last");
            }
        }
    }

    #[test]
    fn a_letter_that_fits_nowhere_comes_to_an_end() {
        let cut = letter(&"x".repeat(5_000)).fitted(|_| false);
        assert!(cut.headline.chars().count() < 8 && cut.parts.len() == 1, "{cut:?}");
    }
}
