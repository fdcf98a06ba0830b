//! JUnit XML, as pytest, Playwright, Jest, Maven and most others write it.
//!
//! There is no standard; this reads what all of them have in common, as
//! <https://github.com/testmoapp/junitxml> collects it: `testcase` elements below `testsuite`s, with `failure`, `error`
//! or `skipped` in them. Suites count their cases; a report that counts more than it holds isn't whole.

use roxmltree::{Document, Node, ParsingOptions};

use super::report::{Ended, Report, STEPS, Step, seconds};

/// The most elements, texts and attributes of a report.
const NODES: u32 = 200_000;

/// Reads a report.
///
/// # Errors
/// It is none, or it is broken.
pub(super) fn read(text: &str) -> Result<Report, String> {
    let options = ParsingOptions { nodes_limit: NODES, ..ParsingOptions::default() };
    let text = text.trim_start_matches('\u{feff}').trim();
    let document = Document::parse_with_options(text, options).map_err(|error| match error {
        roxmltree::Error::NodesLimitReached => "its report is larger than we read".to_owned(),
        other => format!("its report is no JUnit XML: {other}"),
    })?;
    let root = document.root_element();
    if !is_suite(root) {
        return Err("its report is no JUnit XML: it begins with neither testsuites nor testsuite".to_owned());
    }
    let mut report = Report::default();
    for case in root.descendants().filter(|node| node.has_tag_name("testcase")) {
        if report.steps.len() == STEPS {
            report.incomplete = Some(format!("its report has more than {STEPS} cases"));
            return Ok(report);
        }
        report.steps.push(step(case));
    }
    report.incomplete = missing(root, &report);
    Ok(report)
}

fn step(case: Node<'_, '_>) -> Step {
    let child = |name: &str| case.children().find(|node| node.has_tag_name(name));
    let name = ["name", "classname"].iter().filter_map(|name| case.attribute(*name)).find(|name| !name.is_empty());
    let (ended, why) = match (child("failure"), child("error"), child("skipped")) {
        (Some(failure), ..) => (Ended::Failed, Some(failure)),
        (None, Some(error), _) => (Ended::Broke, Some(error)),
        (None, None, Some(_)) => (Ended::Skipped, None),
        (None, None, None) => (Ended::Passed, None),
    };
    let message = why.map(|why| {
        let said = why.attribute("message").filter(|message| !message.trim().is_empty());
        said.or_else(|| why.text()).or_else(|| why.attribute("type")).unwrap_or_default()
    });
    let mut step = Step::new(name.unwrap_or("a case without a name"), ended).message(message.unwrap_or_default());
    step.seconds = case.attribute("time").and_then(seconds);
    step
}

/// What suites count and don't hold. A suite's own count is of the cases below it; each is looked at once, however
/// deep suites are nested.
fn missing(root: Node<'_, '_>, report: &Report) -> Option<String> {
    let nodes: Vec<Node<'_, '_>> = root.descendants().collect();
    // Cases, failures and errors below each node, by its number; a node's number is larger than its parent's.
    let last = nodes.last().map_or(0, |node| node.id().get_usize());
    let mut below = vec![[0_usize; 3]; last + 1];
    let mut gap = None;
    for node in nodes.into_iter().rev() {
        let mut held = below.get(node.id().get_usize()).copied().unwrap_or_default();
        if node.has_tag_name("testcase") {
            let has = |name: &str| usize::from(node.children().any(|node| node.has_tag_name(name)));
            held = [1, has("failure"), has("error")];
        } else if is_suite(node) {
            gap = uncounted(node, held).or_else(|| broken(node)).or(gap);
        }
        if let Some(parent) = node.parent().and_then(|parent| below.get_mut(parent.id().get_usize())) {
            for (parent, held) in parent.iter_mut().zip(held) {
                *parent += held;
            }
        }
    }
    gap.or_else(|| report.steps.is_empty().then(|| "its report holds no case".to_owned()))
}

fn is_suite(node: Node<'_, '_>) -> bool {
    matches!(node.tag_name().name(), "testsuites" | "testsuite")
}

fn uncounted(suite: Node<'_, '_>, held: [usize; 3]) -> Option<String> {
    let declared = |name: &str| suite.attribute(name).and_then(|count| count.trim().parse::<usize>().ok());
    ["tests", "failures", "errors"].into_iter().zip(held).find_map(|(name, held)| {
        let count = declared(name).filter(|count| *count > held)?;
        Some(format!("its report counts {count} {name} and holds {held}"))
    })
}

/// An error of the suite itself: what it prepares for its cases failed.
fn broken(suite: Node<'_, '_>) -> Option<String> {
    let error = suite.children().find(|node| node.has_tag_name("error"))?;
    let said = error.attribute("message").or_else(|| error.text()).unwrap_or_default();
    Some(format!("a suite could not be run: {}", Step::new(said, Ended::Broke).name))
}
