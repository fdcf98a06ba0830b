//! Reads a browser's steps from their YAML, each checked at its own place.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use super::super::expectation::{Said, expectation, find_slots, step_name};
use super::STEP_MEASURES;
use super::step::{Act, Place, Step, Text};
use crate::evidence::slots::{TextTemplate, UrlTemplate, without_slots};
use crate::model::encode::is_unprintable;
use crate::model::secret::SecretRef;
use crate::model::source::{Diagnostic, Span};
use crate::model::units;
use crate::net::webdriver::Locator;
use crate::yaml::{Node, Shape, Spanned};

/// The most steps.
const STEPS: usize = 50;
/// The longest selector, in bytes.
const SELECTOR: usize = 500;
/// Says what the page shows, not only that there is one.
const CONTENT: [&str; 3] = ["text", "element", "title"];

/// Names of keys (W3C WebDriver §17.4.2), and their code points.
const KEYS: &[(&str, char)] = &[
    ("Enter", '\u{e007}'),
    ("Tab", '\u{e004}'),
    ("Escape", '\u{e00c}'),
    ("Space", '\u{e00d}'),
    ("Backspace", '\u{e003}'),
    ("Delete", '\u{e017}'),
    ("ArrowUp", '\u{e013}'),
    ("ArrowDown", '\u{e015}'),
    ("ArrowLeft", '\u{e012}'),
    ("ArrowRight", '\u{e014}'),
    ("Home", '\u{e011}'),
    ("End", '\u{e010}'),
    ("PageUp", '\u{e00e}'),
    ("PageDown", '\u{e00f}'),
];

/// One step as it is written: at most one act.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "BrowserStep")]
pub struct Keys {
    name: Option<Spanned<String>>,
    go: Option<Spanned<UrlTemplate>>,
    fill: Option<Spanned<String>>,
    with: Option<Spanned<WithKey>>,
    click: Option<Spanned<String>>,
    select: Option<Spanned<String>>,
    option: Option<Spanned<TextTemplate>>,
    press: Option<Spanned<String>>,
    on: Option<Spanned<String>>,
    see: Option<Spanned<String>>,
    gone: Option<Spanned<String>>,
    dialog: Option<Spanned<Answer>>,
    #[serde(default)]
    expect: Vec<Spanned<Said>>,
    #[serde(default)]
    always: bool,
    timeout: Option<Spanned<units::Span>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Accept,
    Dismiss,
}

/// What is filled in: text with slots, or a secret.
#[derive(Debug)]
struct WithKey(Text);

impl<'de> Deserialize<'de> for WithKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WithVisitor;
        impl<'de> Visitor<'de> for WithVisitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a line of text, or a secret as { env: NAME }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                TextTemplate::parse(text).map(Text::Plain).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Text, A::Error> {
                SecretRef::deserialize(MapAccessDeserializer::new(map)).map(Text::Secret)
            }
        }
        deserializer.deserialize_any(WithVisitor).map(WithKey)
    }
}

impl JsonSchema for WithKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FilledIn".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let secret = generator.subschema_for::<SecretRef>();
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, { "type": "integer" }, secret] })
    }
}

/// Reads all steps.
///
/// # Errors
/// The first thing that is wrong, at its own place.
pub fn steps(node: &Node) -> Result<Vec<Step>, Diagnostic> {
    let Shape::List(nodes) = &node.shape else {
        let message = format!("expected a list of steps, found {}", node.describe());
        return Err(Diagnostic::error(node.span.clone(), message).hint("write `- go: https://…`, a line per step"));
    };
    if nodes.is_empty() || nodes.len() > STEPS {
        return Err(Diagnostic::error(node.span.clone(), format!("a use case has 1 to {STEPS} steps")));
    }
    // Expressions may use what any slot uses: parameters, which the check declares.
    let mut known = Vec::new();
    for entry in nodes {
        if let Shape::Map(entries) = &entry.shape {
            let sent = entries.iter().filter(|(key, _)| matches!(key.text(), Some("go" | "with" | "option")));
            sent.for_each(|(_, value)| find_slots(value, &mut known));
        }
    }
    let known: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    let steps = nodes.iter().map(|node| step(node.read::<Keys>()?, node, &known)).collect::<Result<Vec<Step>, _>>()?;
    if let Some(first) = steps.iter().find(|step| !step.always)
        && !matches!(first.act, Act::Go(_))
    {
        return Err(Diagnostic::error(first.at.clone(), "the first step goes nowhere: no page is open yet")
            .hint("begin with `- go: https://…`"));
    }
    if steps.iter().all(|step| step.always) {
        return Err(Diagnostic::error(node.span.clone(), "every step is `always`: nothing is tried"));
    }
    // A page that says "sorry" with status 200 passes every use case that doesn't look at it.
    let looks = |step: &&Step| {
        let reads = |expect: &super::super::expectation::Expect| {
            !expect.odd && expect.that.names().iter().any(|name| CONTENT.contains(&name.as_str()))
        };
        !step.always
            && (matches!(step.act, Act::Fill(..) | Act::Click(_) | Act::Select(..) | Act::See(_))
                || step.expect.iter().any(reads))
    };
    if !steps.iter().any(|step| looks(&step)) {
        return Err(Diagnostic::error(
            steps[0].at.clone(),
            "no step looks at what is shown: an error page with status 200 would pass",
        )
        .hint("`see` an element, or expect something of `text`"));
    }
    Ok(steps)
}

fn step(keys: Keys, node: &Node, known: &[&str]) -> Result<Step, Diagnostic> {
    let name = keys.name.map(step_name).transpose()?;
    let mut acts: Vec<(Act, &str, String, Span)> = Vec::new();
    if let Some(go) = keys.go {
        acts.push((Act::Go(go.value.clone()), "go", go.value.text().to_owned(), go.at));
    }
    let mut with = keys.with;
    if let Some(fill) = keys.fill {
        let Some(WithKey(text)) = with.take().map(|with| with.value) else {
            return Err(Diagnostic::error(fill.at, "`fill` without `with`").hint("with: \"{{ account }}\""));
        };
        acts.push((Act::Fill(place(&fill)?, text), "fill", fill.value, fill.at));
    }
    if let Some(with) = with {
        return Err(Diagnostic::error(with.at, "`with` belongs to `fill`"));
    }
    if let Some(click) = keys.click {
        acts.push((Act::Click(place(&click)?), "click", click.value, click.at));
    }
    let mut option = keys.option;
    if let Some(select) = keys.select {
        let Some(option) = option.take() else {
            return Err(Diagnostic::error(select.at, "`select` without `option`").hint("option: its text or its value"));
        };
        acts.push((Act::Select(place(&select)?, option.value), "select", select.value, select.at));
    }
    if let Some(option) = option {
        return Err(Diagnostic::error(option.at, "`option` belongs to `select`"));
    }
    let mut on = keys.on;
    if let Some(press) = keys.press {
        let Some((_, key)) = KEYS.iter().find(|(name, _)| *name == press.value) else {
            let names: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
            return Err(Diagnostic::error(press.at, "not a key that can be pressed").hint(names.join(", ")));
        };
        let on = on.take().map(|on| place(&on)).transpose()?;
        acts.push((Act::Press(*key, on), "press", press.value, press.at));
    }
    if let Some(on) = on {
        return Err(Diagnostic::error(on.at, "`on` belongs to `press`"));
    }
    if let Some(see) = keys.see {
        acts.push((Act::See(place(&see)?), "see", see.value, see.at));
    }
    if let Some(gone) = keys.gone {
        acts.push((Act::Gone(place(&gone)?), "gone", gone.value, gone.at));
    }
    if let Some(dialog) = keys.dialog {
        let accept = dialog.value == Answer::Accept;
        acts.push((Act::Dialog(accept), "dialog", if accept { "accept" } else { "dismiss" }.to_owned(), dialog.at));
    }
    let (act, that, at) = match (acts.len(), acts.pop()) {
        (0, _) | (_, None) if keys.expect.is_empty() => {
            return Err(Diagnostic::error(node.span.clone(), "a step does something, or expects something")
                .hint("go, fill, click, select, press, see, gone, dialog, expect"));
        }
        (_, None) => (Act::Wait, "wait".to_owned(), node.span.clone()),
        (1, Some((act, verb, written, at))) => (act, format!("{verb}: {written}"), at),
        (_, Some((_, _, _, at))) => {
            return Err(Diagnostic::error(at, "a step does one thing").hint("make it a step of its own"));
        }
    };
    let of_element = matches!(act, Act::See(_));
    let mut expect = Vec::new();
    for said in keys.expect {
        let read = expectation(said, STEP_MEASURES, known)?;
        if !of_element && read.that.names().iter().any(|name| name == "element") {
            return Err(Diagnostic::error(read.at, "`element` is what `see` found; this step sees none")
                .hint("see: \"#total\", or expect something of `text`"));
        }
        expect.push(read);
    }
    if let Some(timeout) = &keys.timeout
        && timeout.value.0.is_zero()
    {
        return Err(Diagnostic::error(timeout.at.clone(), "a timeout is longer than nothing"));
    }
    Ok(Step {
        label: name.clone().unwrap_or_else(|| that.clone()),
        name,
        act,
        expect,
        always: keys.always,
        timeout: keys.timeout.map(|timeout| timeout.value.0),
        that,
        at,
    })
}

/// An element by a CSS selector, or by its text behind `text=`.
fn place(selector: &Spanned<String>) -> Result<Place, Diagnostic> {
    let text = selector.value.as_str();
    let refuse = |why: &str| Err(Diagnostic::error(selector.at.clone(), why.to_owned()));
    if without_slots(text).is_err() {
        return refuse("no parameter can choose an element: what a ticket says must not decide where is clicked");
    }
    if text.trim().is_empty() || text.len() > SELECTOR || text.chars().any(is_unprintable) {
        return refuse("a selector is 1 to 500 bytes of plain text");
    }
    let locator = match text.strip_prefix("text=") {
        None => Locator::Css(text.to_owned()),
        Some(shown) if shown.trim().is_empty() => return refuse("`text=` is followed by the text that is shown"),
        Some(shown) => Locator::XPath(by_text(&shown.split_whitespace().collect::<Vec<_>>().join(" "))),
    };
    Ok(Place { written: text.to_owned(), locator })
}

/// Elements that show exactly this text, the innermost ones; buttons and others that are called so.
fn by_text(text: &str) -> String {
    let text = literal(text);
    format!(
        "//body//*[not(self::script or self::style or self::noscript or self::template)]\
         [normalize-space(.)={text} and not(./*[normalize-space(.)={text}])]\
         | //body//input[(@type='submit' or @type='button' or @type='reset') and normalize-space(@value)={text}]\
         | //body//*[normalize-space(@aria-label)={text}]"
    )
}

/// A text as XPath 1.0 writes it: it has no escapes, so that both quotes can only stand in parts of a `concat`.
fn literal(text: &str) -> String {
    if !text.contains('\'') {
        return format!("'{text}'");
    }
    if !text.contains('"') {
        return format!("\"{text}\"");
    }
    let parts: Vec<String> = text.split('\'').map(|part| format!("'{part}'")).collect();
    format!("concat({})", parts.join(", \"'\", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    fn read(text: &str) -> Result<Vec<Step>, Diagnostic> {
        steps(&parse("shop.yaml", text).expect("YAML"))
    }

    #[test]
    fn steps_are_read_with_the_place_of_every_act() {
        let steps = read(
            r##"- go: "https://shop.example.com/?who={{ account }}"
  expect: [ status == 200, 'text.contains(account)' ]
- fill: "#user"
  with: "{{ account }}"
- name: the password
  fill: "input[type=password]"
  with: { env: SHOP_PASSWORD }
- select: "#size"
  option: large
- press: Enter
  on: "#user"
- click: "text=Pay now"
  timeout: 3s
- dialog: accept
- gone: ".spinner"
- see: "#receipt"
  expect:
    - 'element == "paid"'
    - that: duration_seconds < 1
      else: odd
- expect: [ 'url.endsWith("/done")' ]
- click: "text=Log out"
  always: true
"##,
        )
        .unwrap();
        assert_eq!(steps.len(), 11);
        let labels: Vec<&str> = steps.iter().map(|step| step.label.as_str()).collect();
        assert_eq!(labels[1..4], ["fill: #user", "the password", "select: #size"]);
        assert_eq!(
            (steps[1].at.to_string(), steps[2].at.to_string()),
            ("shop.yaml:3:9".into(), "shop.yaml:6:9".into())
        );
        assert_eq!(steps[8].expect[1].at.to_string(), "shop.yaml:19:13");
        assert!(matches!(&steps[2].act, Act::Fill(_, Text::Secret(_))) && steps[2].secret().is_some());
        assert!(matches!(steps[9].act, Act::Wait) && steps[10].always);
        assert!(matches!(steps[4].act, Act::Press('\u{e007}', Some(_))));
        assert_eq!(steps[0].slots(), ["account"]);
    }

    #[test]
    fn every_fault_is_shown_at_its_own_place() {
        let mut wrong = Vec::new();
        for (text, place, message) in [
            ("go: http://h/", "1:1", "expected a list of steps"),
            ("[]", "1:1", "1 to 50 steps"),
            ("- name: x\n", "1:3", "does something"),
            ("- go: file:///etc/passwd\n", "1:7", "not an http or https URL"),
            ("- go: chrome://settings\n", "1:7", "not an http or https URL"),
            ("- go: \"javascript:alert(1)\"\n", "1:7", "not an http or https URL"),
            ("- go: \"http://{{ h }}/\"\n", "1:7", "can't stand in a URL's scheme, host or port"),
            ("- go: http://h/\n  click: a\n", "2:10", "one thing"),
            ("- go: http://h/\n- fill: a\n", "2:9", "`fill` without `with`"),
            ("- go: http://h/\n  with: a\n", "2:9", "`with` belongs to `fill`"),
            ("- go: http://h/\n- select: a\n", "2:11", "`select` without `option`"),
            ("- go: http://h/\n- press: Return\n", "2:10", "not a key"),
            ("- go: http://h/\n- click: \"#a-{{ id }}\"\n", "2:10", "no parameter can choose an element"),
            ("- go: http://h/\n- click: \"\"\n", "2:10", "1 to 500 bytes"),
            ("- go: http://h/\n- click: text=\n", "2:10", "is followed by"),
            ("- go: http://h/\n- clik: a\n", "2:3", "unknown key `clik`"),
            ("- go: http://h/\n- click: a\n  expect: [ txt != '' ]\n", "3:13", "txt"),
            ("- go: http://h/\n- click: a\n  expect: [ element != '' ]\n", "3:13", "this step sees none"),
            ("- go: http://h/\n  expect: [ status == 200 ]\n", "1:7", "no step looks at what is shown"),
            ("- click: a\n", "1:10", "no page is open yet"),
            ("- go: http://h/\n  always: true\n", "1:1", "nothing is tried"),
            ("- go: http://h/\n- click: a\n  timeout: 0s\n", "3:12", "longer than nothing"),
            ("- go: http://h/\n- fill: a\n  with: \"a\\nb\"\n", "3:9", "control character"),
        ] {
            let error = read(text).expect_err(text);
            if error.at.to_string() != format!("shop.yaml:{place}") || !error.message.contains(message) {
                wrong.push(format!("{text}wanted {place} `{message}`: {error:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_text_of_any_quotes_is_a_literal_of_xpath() {
        for (text, expected) in [
            ("Pay", "'Pay'"),
            ("Bob's", "\"Bob's\""),
            ("a \"b\" c", "'a \"b\" c'"),
            ("Bob's \"shop\"", "concat('Bob', \"'\", 's \"shop\"')"),
        ] {
            assert_eq!(literal(text), expected);
        }
    }
}
