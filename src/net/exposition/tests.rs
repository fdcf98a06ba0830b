//! Pages that must be read and pages that must be refused, the laws of the parser, and `prometheus-parse` as a witness.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn text(page: &str) -> Result<Exposition<'_>, Fault> {
    read(page.as_bytes(), Format::Text, Limits::default())
}

fn open_metrics(page: &str) -> Result<Exposition<'_>, Fault> {
    read(page.as_bytes(), Format::OpenMetrics, Limits::default())
}

/// `name{label="value"} value @timestamp` of every sample, in one line.
fn show(page: &Exposition<'_>) -> String {
    let mut out = Vec::new();
    for sample in &page.samples {
        let labels: Vec<String> =
            page.labels(sample).iter().map(|l| format!("{}={:?}", l.name.text(), l.value.text())).collect();
        let time = sample.timestamp_ms.map_or(String::new(), |ms| format!(" @{ms}"));
        out.push(format!("{}{{{}}} {}{time}", sample.name.text(), labels.join(","), sample.value));
    }
    out.join("; ")
}

#[test]
fn text_pages_that_are_right() {
    for (page, expected) in [
        ("a 1\n", "a{} 1"),
        ("a 1", "cut"),
        ("\n\n  a\t 1  \n\n", "a{} 1"),
        ("a{} 1\n", "a{} 1"),
        ("a{}1\n", "a{} 1"),
        ("a { x = \"1\" , y=\"2\" , } 3\n", "a{x=\"1\",y=\"2\"} 3"),
        ("a{x=\"1\",} 3 1395066363000\n", "a{x=\"1\"} 3 @1395066363000"),
        ("a 3 -5\n", "a{} 3 @-5"),
        ("job:rate:5m{code=\"500\"} 0.25\n", "job:rate:5m{code=\"500\"} 0.25"),
        (":a 1\n", ":a{} 1"),
        ("a{p=\"}\",q=\",\",r=\"=\"} 1\n", "a{p=\"}\",q=\",\",r=\"=\"} 1"),
        ("a{p=\"C:\\\\DIR\\\\F.TXT\",e=\"no\\n\\\"x\\\"\"} 1\n", "a{p=\"C:\\\\DIR\\\\F.TXT\",e=\"no\\n\\\"x\\\"\"} 1"),
        ("a{p=\"\"} 1\n", "a{p=\"\"} 1"),
        ("a{p=\"süß ☃\"} 1\n", "a{p=\"süß ☃\"} 1"),
        ("a{p=\" # {} \"} 1\n", "a{p=\" # {} \"} 1"),
        ("a NaN\nb +Inf\nc -Inf\nd inf\ne nan\n", "a{} NaN; b{} inf; c{} -inf; d{} inf; e{} NaN"),
        ("a 1e3\nb .5\nc 5.\nd +1\ne -0\nf 1.7976931348623157e308\n", ""),
        ("# a comment\n#another\n#\na 1\n", "a{} 1"),
        ("# UNIT a seconds\na 1\n", "a{} 1"),
        ("# HELP a\na 1\n", "a{} 1"),
        ("# HELP a C:\\dir and \\q\na 1\n", "a{} 1"),
        ("#HELP a x\n#TYPE a   gauge  \na 1\n", "a{} 1"),
        ("# HELP a x\na 1\n# HELP b y\n", "a{} 1"),
        ("# TYPE a untyped\na 1\n", "a{} 1"),
        (
            "# TYPE h histogram\nh_bucket{le=\"0.1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n",
            "h_bucket{le=\"0.1\"} 1; h_bucket{le=\"+Inf\"} 2; h_sum{} 3; h_count{} 2",
        ),
        (
            "# TYPE s summary\ns{quantile=\"0.5\"} NaN\ns_sum 3\ns_count 2\n",
            "s{quantile=\"0.5\"} NaN; s_sum{} 3; s_count{} 2",
        ),
        ("{\"my.metric\"} 1\n", "my.metric{} 1"),
        ("{\"my.metric\",x=\"1\"} 1\n", "my.metric{x=\"1\"} 1"),
        ("{\"a b\\\"c\",\"label.name\"=\"1\"} 1 7\n", "a b\"c{label.name=\"1\"} 1 @7"),
        ("# TYPE \"my.metric\" gauge\n{\"my.metric\"} 1\n", "my.metric{} 1"),
        ("a 1\nb 2\na{x=\"1\"} 3\n", "a{} 1; b{} 2; a{x=\"1\"} 3"),
    ] {
        match (text(page), expected) {
            (Err(fault), "cut") => assert!(matches!(fault.what, What::Cut(_)), "{page:?}: {fault}"),
            (Ok(_), "") => {}
            (Ok(read), _) => assert_eq!(show(&read), expected, "{page:?}"),
            (Err(fault), _) => panic!("{page:?}: {fault}"),
        }
    }
}

#[test]
fn text_pages_that_are_wrong_are_refused_at_their_place() {
    for (page, line, column, part) in [
        ("", 1, 1, "no samples"),
        ("\n# TYPE a gauge\n", 2, 1, "no samples"),
        ("a 1\nb", 2, 2, "cut off"),
        ("a 1\nb{x=\"1", 2, 7, "cut off"),
        ("a 1\nb 2", 2, 4, "cut off"),
        ("<!DOCTYPE html>\n<html>502 Bad Gateway</html>\n", 1, 1, "HTML"),
        ("{\"status\":\"ok\"}\n", 1, 10, "expected"),
        ("a\n", 1, 2, "expected a value"),
        ("a b\n", 1, 3, "not a number"),
        ("bad xyz\n", 1, 5, "not a number"),
        ("a 1\r\n", 1, 3, "not a number"),
        ("a 0x1p-3\n", 1, 3, "not a number"),
        ("a 1_000\n", 1, 3, "not a number"),
        ("a 1,5\n", 1, 3, "not a number"),
        ("a -NaN\n", 1, 3, "no sign"),
        ("a 1e999\n", 1, 3, "out of range"),
        ("a 1 z\n", 1, 5, "whole number of milliseconds"),
        ("a 1 1.5\n", 1, 5, "whole number of milliseconds"),
        ("a 1 9223372036854775808\n", 1, 5, "out of range"),
        ("a 1 9223372036854775807\n", 1, 5, "out of range"),
        ("a 1 1 1\n", 1, 7, "unexpected text"),
        ("a 1 # {t=\"1\"} 1\n", 1, 5, "exemplars"),
        ("a 1 5 # {t=\"1\"} 1\n", 1, 7, "exemplars"),
        ("0a 1\n", 1, 1, "can't begin"),
        ("a.b 1\n", 1, 2, "can't hold"),
        ("a-b 1\n", 1, 2, "can't hold"),
        ("ä 1\n", 1, 1, "can't begin"),
        ("a{x=\"1\"\n", 1, 8, "closing `}`"),
        ("a{x=\"1} 1\n", 1, 10, "closing `\"`"),
        ("a{\n", 1, 3, "closing `}`"),
        ("a{x} 1\n", 1, 4, "expected `=`"),
        ("a{x=} 1\n", 1, 5, "double quotes"),
        ("a{x=1} 1\n", 1, 5, "double quotes"),
        ("a{x='1'} 1\n", 1, 5, "double quotes"),
        ("a{x:y=\"1\"} 1\n", 1, 4, "expected `=`"),
        ("a{1x=\"1\"} 1\n", 1, 3, "can't begin"),
        ("a{x=\"1\"y=\"2\"} 1\n", 1, 8, "expected `,`"),
        ("a{x=\"1\",,y=\"2\"} 1\n", 1, 9, "can't begin"),
        ("a{,} 1\n", 1, 3, "can't begin"),
        ("a{x=\"1\",x=\"2\"} 1\n", 1, 9, "twice"),
        ("a{__name__=\"b\"} 1\n", 1, 3, "reserved"),
        ("a{x=\"\\q\"} 1\n", 1, 6, "escapes"),
        ("süß{x=\"1\"} 1\n", 1, 2, "can't hold"),
        ("a{x=\"ü☃\",y} 1\n", 1, 11, "expected `=`"),
        ("{} 1\n", 1, 3, "without a metric's name"),
        ("{x=\"1\"} 1\n", 1, 8, "without a metric's name"),
        ("{\"\"} 1\n", 1, 2, "empty"),
        ("a{\"b\"} 1\n", 1, 3, "second name"),
        ("{\"a\",\"b\"} 1\n", 1, 6, "second name"),
        ("{x=\"1\",\"a\"} 1\n", 1, 8, "second name"),
        ("# TYPE a\na 1\n", 1, 1, "no such type"),
        ("# TYPE a meh\na 1\n", 1, 1, "no such type"),
        ("# TYPE a info\na 1\n", 1, 1, "no such type"),
        ("# TYPE\na 1\n", 1, 7, "expected a metric's name"),
        ("# TYPE a.b gauge\n", 1, 9, "can't hold"),
        ("# TYPE a gauge\n# TYPE a gauge\na 1\n", 2, 1, "second TYPE"),
        ("# HELP a x\n# HELP a y\na 1\n", 2, 1, "second HELP"),
        ("a 1\n# TYPE a gauge\n", 2, 1, "before"),
        ("# TYPE h histogram\nh_bucket 1\n", 2, 1, "le"),
        ("# TYPE h histogram\nh_bucket{le=\"x\"} 1\n", 2, 1, "numbers"),
        ("# TYPE h histogram\nh_bucket{le=\"NaN\"} 1\n", 2, 1, "numbers"),
        ("# TYPE s summary\ns 1\n", 2, 1, "quantile"),
        ("# TYPE s summary\ns{quantile=\"2\"} 1\n", 2, 1, "between 0 and 1"),
        ("ok 1\n\nok{x=\"1\"} 2\nbroken{x=\"1\" 2\nok 3\n", 4, 14, "expected `,`"),
    ] {
        let fault = text(page).expect_err(page);
        assert_eq!((fault.line, fault.column), (line, column), "{page:?}: {fault}");
        assert!(fault.to_string().contains(part), "{page:?}: {fault}");
    }
    let fault = read(b"ok 1\nb{x=\"\xff\"} 2\n", Format::Text, Limits::default()).unwrap_err();
    assert_eq!((fault.line, fault.column, fault.what), (2, 6, What::Wrong("not UTF-8")));
}

#[test]
fn a_fault_shows_its_line() {
    let fault = text("ok 1\nbroken{x 2\n").unwrap_err();
    assert_eq!(fault.to_string(), "line 2, column 10: expected `=` after the label's name: `broken{x 2`");
    let long = format!("a{{x=\"{}\"}} x\n", "y".repeat(4_000));
    assert_eq!(text(&long).unwrap_err().source_line.chars().count(), 120);
}

#[test]
fn open_metrics_pages_that_are_right() {
    for page in [
        "a 1\n# EOF\n",
        "a 1\n# EOF",
        "# TYPE a counter\n# HELP a help\na_total 0 123 # {a=\"b\"} 0.5\n# EOF\n",
        "# TYPE a counter\na_total{x=\"1\"} 1\na_created{x=\"1\"} 1.5e9\na_total{x=\"2\"} 1\n# EOF\n",
        "# TYPE a counter\na_total{x=\"\\z\\\\\\n\\\"\"} 1\n# EOF\n",
        "# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 1\n# EOF\n",
        "# HELP a \n# UNIT a \na 1\n# EOF\n",
        "# TYPE a gauge\na 1 1.25\na 2 1.25\na 3 2\n# EOF\n",
        "# TYPE a histogram\na_bucket{le=\"1.0\"} 0 # {t=\"x\"} 0.5 7.5\na_bucket{le=\"+Inf\"} 3\na_count 3\na_sum 2\n# EOF\n",
        "# TYPE a histogram\na_bucket{x=\"1\",le=\"+Inf\"} 1\na_bucket{x=\"2\",le=\"+Inf\"} 2\n# EOF\n",
        "# TYPE a gaugehistogram\na_bucket{le=\"-1\"} 1\na_bucket{le=\"+Inf\"} 3\na_gcount 3\na_gsum -5\n# EOF\n",
        "# TYPE a summary\na{quantile=\"0.5\"} 0.7\na{quantile=\"1\"} 0.8\na_count 1\na_sum 2\n# EOF\n",
        "# TYPE a info\na_info{v=\"1\"} 1\n# EOF\n",
        "# TYPE a stateset\na{a=\"on\"} 0\na{a=\"off\"} 1\n# EOF\n",
        "# TYPE a unknown\na NaN\n# EOF\n",
        "{\"my.metric\",\"label.name\"=\"1\"} 1\n# EOF\n",
    ] {
        if let Err(fault) = open_metrics(page) {
            panic!("{page:?}: {fault}");
        }
    }
}

#[test]
fn open_metrics_pages_that_are_wrong_are_refused() {
    for (page, part) in [
        ("# EOF\n", "no samples"),
        ("a 1\n", "cut off"),
        ("a 1\n# EOF\nb 1\n", "after `# EOF`"),
        ("a 1\n# EOFx\n", "no other comments"),
        ("a 1\n\n# EOF\n", "blank line"),
        (" a 1\n# EOF\n", "can't begin"),
        ("a  1\n# EOF\n", "value"),
        ("a 1 \n# EOF\n", "expected a timestamp"),
        ("a 1\t\n# EOF\n", "unexpected text"),
        ("a{}1\n# EOF\n", "one space"),
        ("a{x=\"1\",} 1\n# EOF\n", "can't begin"),
        ("a{x =\"1\"} 1\n# EOF\n", "expected `=`"),
        ("a 1 NaN\n# EOF\n", "finite"),
        ("a 1 1e300\n# EOF\n", "out of range"),
        ("# a comment\na 1\n# EOF\n", "no other comments"),
        ("#a\na 1\n# EOF\n", "one space after `#`"),
        ("# TYPE a untyped\na 1\n# EOF\n", "no such type"),
        ("# TYPE a gauge \na 1\n# EOF\n", "no such type"),
        ("# HELP a\na 1\n# EOF\n", "one space"),
        ("# UNIT a seconds\na 1\n# EOF\n", "unit"),
        ("# UNIT _s s\n_s 1\n# EOF\n", "unit"),
        ("# TYPE x_u info\n# UNIT x_u u\nx_u_info 1\n# EOF\n", "no unit"),
        ("a 1\n# HELP a x\n# EOF\n", "before"),
        ("# HELP a x\n# HELP b y\n# TYPE a gauge\n# EOF\n", "together"),
        ("a 1\nb 1\na{x=\"1\"} 1\n# EOF\n", "together"),
        ("# TYPE a counter\na 1\n# EOF\n", "ending"),
        ("# TYPE a counter\na_total -1\n# EOF\n", "negative"),
        ("# TYPE a counter\na_total NaN\n# EOF\n", "negative or NaN"),
        ("# TYPE a_created gauge\n# TYPE a counter\na_total 1\n# EOF\n", "another metric"),
        ("# TYPE a gauge\na 1 # {t=\"1\"} 1\n# EOF\n", "exemplars"),
        ("# TYPE a counter\na_total 1 # {} 1 \n# EOF\n", "timestamp"),
        ("# TYPE a counter\na_total 1 #{} 1\n# EOF\n", "one space after `#`"),
        ("# TYPE a counter\na_total 1 # x 1\n# EOF\n", "braces"),
        ("# TYPE a info\na_info 2\n# EOF\n", "must be 1"),
        ("# TYPE a stateset\na{a=\"x\"} 2\n# EOF\n", "0 or 1"),
        ("# TYPE a stateset\na 1\n# EOF\n", "own name"),
        ("# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 1\n# EOF\n", "only one of"),
        ("# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n# EOF\n", "+Inf"),
        ("# TYPE a histogram\na_bucket{le=\"+INF\"} 1\n# EOF\n", "+Inf"),
        ("# TYPE a histogram\na_bucket{le=\"2\"} 1\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1\n# EOF\n", "ascend"),
        ("# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\n# EOF\n", "before it"),
        ("# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 2\na_sum 1\n# EOF\n", "isn't its bucket"),
        (
            "# TYPE a histogram\na_bucket{le=\"-1\"} 1\na_bucket{le=\"+Inf\"} 1\na_count 1\na_sum 1\n# EOF\n",
            "can't have a sum",
        ),
        ("# TYPE a gaugehistogram\na_bucket{le=\"+Inf\"} 1\na_gcount 1\na_gsum -1\n# EOF\n", "negative sum"),
        (
            "# TYPE a histogram\na_bucket{x=\"1\",le=\"+Inf\"} 1\na_bucket{x=\"2\",le=\"+Inf\"} 1\na_count{x=\"1\"} 1\n# EOF\n",
            "stand together",
        ),
        ("# TYPE a gauge\na 1\na 1\n# EOF\n", "twice"),
        ("# TYPE a gauge\na{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 1\n# EOF\n", "twice"),
        ("# TYPE a gauge\na 1 2\na 1 1\n# EOF\n", "forward"),
        ("# TYPE a gauge\na 1 2\na 1\n# EOF\n", "all points"),
    ] {
        let fault = open_metrics(page).expect_err(page);
        assert!(fault.to_string().contains(part), "{page:?}: {fault}");
    }
    // 128 characters are allowed, in any script; one more is not.
    for (count, good) in [(127, true), (128, false)] {
        let page = format!("# TYPE a counter\na_total 1 # {{x=\"{}\"}} 1\n# EOF\n", "☃".repeat(count));
        assert_eq!(open_metrics(&page).is_ok(), good, "{count}");
    }
}

#[test]
fn metadata_and_exemplars_are_kept() {
    let page = "# HELP a_seconds long \\n text\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
        a_seconds_bucket{le=\"+Inf\"} 3 # {trace_id=\"t1\"} 0.67 1.5\n# EOF\n";
    let read = open_metrics(page).unwrap();
    let family = read.family("a_seconds_bucket").unwrap();
    assert_eq!((family.kind, family.unit), (Type::Histogram, Some("seconds")));
    assert_eq!(family.help.unwrap().text(), "long \n text");
    let exemplar = read.exemplar(&read.samples[0]).unwrap();
    assert_eq!((exemplar.value, exemplar.timestamp_ms), (0.67, Some(1_500)));
    assert!(exemplar.labels[0].name.is("trace_id") && exemplar.labels[0].value.is("t1"));
    assert!(read.family("a_seconds_other").is_none());
}

#[test]
fn every_bound_is_a_fault_of_its_own() {
    let limits = Limits { page: 200, samples: 2, labels: 2, name: 8, value: 8 };
    for (page, what) in [
        ("a 1\n".repeat(60), "bytes on the page"),
        ("a 1\n".repeat(3), "samples"),
        ("a{x=\"1\",y=\"2\",z=\"3\"} 1\n".to_owned(), "labels of one sample"),
        ("abcdefghi 1\n".to_owned(), "bytes in a name"),
        ("{\"abcdefghi\"} 1\n".to_owned(), "bytes in a name"),
        ("a{abcdefghi=\"1\"} 1\n".to_owned(), "bytes in a name"),
        ("a{x=\"123456789\"} 1\n".to_owned(), "bytes in a label's value"),
    ] {
        let fault = read(page.as_bytes(), Format::Text, limits).expect_err(&page);
        assert!(matches!(fault.what, What::TooMuch { what: w, .. } if w == what), "{page}: {fault}");
    }
    assert!(read(b"abcdefgh{abcdefgh=\"12345678\",b=\"\"} 1\na 1\n", Format::Text, limits).is_ok());
}

#[test]
fn content_types() {
    for (header, expected) in [
        (Some("text/plain; version=0.0.4; charset=utf-8; escaping=underscores"), Some(Format::Text)),
        (Some("text/plain"), Some(Format::Text)),
        (Some("Text/Plain;Version=\"0.0.4\""), Some(Format::Text)),
        (Some("text/plain; version=1.0.0; escaping=allow-utf-8"), Some(Format::Text)),
        (Some("application/openmetrics-text; version=1.0.0; charset=utf-8"), Some(Format::OpenMetrics)),
        (Some("application/openmetrics-text;version=2.0.0"), None),
        (Some("text/plain;version=0.0.9"), None),
        (Some("text/html; charset=utf-8"), None),
        (Some("application/json"), None),
        (Some("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"), None),
        (Some(""), None),
        (None, None),
    ] {
        assert_eq!(Format::of_content_type(header).ok(), expected, "{header:?}");
    }
}

/// What a page is made of, for the round trip.
#[derive(Debug, Clone)]
struct Row {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
    timestamp: Option<i64>,
}

fn rows(label_value: &'static str) -> impl Strategy<Value = Vec<Row>> {
    let value = prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), (-1000_i32..1000).prop_map(f64::from)];
    let labels = prop::collection::btree_map("[a-z_][a-zA-Z0-9_]{0,8}", label_value, 0..5);
    let timestamp = prop::option::of(-1_000_000_000_000_i64..4_000_000_000_000);
    let row = ("[a-zA-Z_:][a-zA-Z0-9_:]{0,12}", labels, value, timestamp)
        .prop_map(|(name, labels, value, timestamp)| Row { name, labels, value, timestamp });
    prop::collection::vec(row, 1..20)
}

fn write(rows: &[Row], spaces: &str) -> String {
    let mut page = String::new();
    for row in rows {
        page.push_str(&row.name);
        if !row.labels.is_empty() {
            page.push('{');
            for (index, (name, value)) in row.labels.iter().enumerate() {
                let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let comma = if index > 0 { "," } else { "" };
                write!(page, "{comma}{name}=\"{escaped}\"").unwrap();
            }
            page.push('}');
        }
        write!(page, "{spaces}{}", row.value).unwrap();
        if let Some(ms) = row.timestamp {
            write!(page, "{spaces}{ms}").unwrap();
        }
        page.push('\n');
    }
    page
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(rows in rows("(?s).{0,12}"), spaces in "[ \t]{1,3}") {
        let page = write(&rows, &spaces);
        let read = text(&page).unwrap();
        prop_assert_eq!(read.samples.len(), rows.len());
        for (sample, row) in read.samples.iter().zip(&rows) {
            prop_assert!(sample.name.is(&row.name));
            prop_assert!(sample.value == row.value || (sample.value.is_nan() && row.value.is_nan()));
            prop_assert_eq!(sample.timestamp_ms, row.timestamp);
            let labels: BTreeMap<String, String> =
                read.labels(sample).iter().map(|l| (l.name.text().into_owned(), l.value.text().into_owned())).collect();
            prop_assert_eq!(&labels, &row.labels);
            for (name, value) in &row.labels {
                let found = read.label(sample, name);
                prop_assert_eq!(found.as_deref(), Some(value.as_str()));
            }
        }
    }

    #[test]
    fn a_page_cut_anywhere_inside_a_line_is_refused(rows in rows("[a-z\"\\\\]{0,6}"), at in any::<prop::sample::Index>()) {
        let page = write(&rows, " ");
        let cut = at.index(page.len());
        let part = &page[..cut];
        prop_assert_eq!(text(part).is_ok(), cut > 0 && part.ends_with('\n'));
    }

    #[test]
    fn any_bytes_are_read_or_refused_but_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for format in [Format::Text, Format::OpenMetrics] {
            let _ = read(&bytes, format, Limits::default());
        }
    }

    #[test]
    fn near_misses_are_read_or_refused_but_never_panic(page in "([a{}\"\\\\=,# \t\n0-9.eEIinfNa+-]|# TYPE a |# EOF|le=|☃){0,60}") {
        for format in [Format::Text, Format::OpenMetrics] {
            if let Err(fault) = read(page.as_bytes(), format, Limits::default()) {
                prop_assert!(fault.line >= 1 && fault.column >= 1);
                prop_assert!(fault.line <= page.lines().count().max(1));
            }
        }
    }

    /// On the subset that `prometheus-parse` reads rightly (plain names, label values without `}`, `,`, `=`, quotes and
    /// backslashes, no folded types), both see the same.
    #[test]
    fn both_parsers_agree_on_the_plain_subset(rows in rows("[a-zA-Z0-9 /.:_-]{0,10}")) {
        let rows: Vec<Row> = rows.into_iter().filter(|row| !row.name.contains(':')).collect();
        prop_assume!(!rows.is_empty());
        let page = write(&rows, " ");
        let ours = text(&page).unwrap();
        let theirs = prometheus_parse::Scrape::parse(page.lines().map(|line| Ok(line.to_owned()))).unwrap();
        prop_assert_eq!(ours.samples.len(), theirs.samples.len());
        for (our, their) in ours.samples.iter().zip(&theirs.samples) {
            prop_assert_eq!(our.name.text(), their.metric.as_str());
            let prometheus_parse::Value::Untyped(value) = their.value else { panic!("untyped") };
            prop_assert!(our.value == value || (our.value.is_nan() && value.is_nan()));
            if let Some(ms) = our.timestamp_ms {
                prop_assert_eq!(ms, their.timestamp.timestamp_millis());
            }
            prop_assert_eq!(ours.labels(our).len(), their.labels.len());
            for label in ours.labels(our) {
                let value = label.value.text();
                prop_assert_eq!(Some(value.as_ref()), their.labels.get(&label.name.text()));
            }
        }
    }
}

#[test]
fn where_the_other_parser_is_silently_wrong_ours_is_not() {
    let theirs = |page: &str| {
        prometheus_parse::Scrape::parse(page.lines().map(|line| Ok(line.to_owned()))).unwrap().samples.len()
    };
    for (page, ours) in [
        ("<html><body>502 Bad Gateway</body></html>\n", None),
        ("job:rate:5m{code=\"500\"} 1\n", Some(1)),
        ("a{} 1\n", Some(1)),
        ("a{p=\"}\"} 1\n", Some(1)),
        ("{\"my.metric\"} 1\n", Some(1)),
    ] {
        assert_eq!(theirs(page), 0, "{page}");
        assert_eq!(text(page).ok().map(|page| page.samples.len()), ours, "{page}");
    }
}

/// The work per byte must not grow with the page: hostile shapes at two sizes, counted in steps of the same machine.
#[test]
fn hostile_pages_end_soon() {
    let many_labels = |count: usize| {
        let labels: Vec<String> = (0..count).map(|n| format!("l{n}=\"\"")).collect();
        format!("a{{{}}} 1\n", labels.join(","))
    };
    let started = std::time::Instant::now();
    for page in [
        many_labels(100_000),
        format!("a{{x=\"{}\"}} 1\n", "y".repeat(1024 * 1024)),
        format!("a{{x=\"{}\"}} 1\n", "\\\\".repeat(512 * 1024)),
        "{".repeat(1024 * 1024),
        format!("{}\n", "a".repeat(4 * 1024 * 1024)),
        format!("{}a 1\n", "#\n".repeat(2 * 1024 * 1024)),
        many_labels(64).repeat(10_000),
        "# TYPE a gauge\n".repeat(100_000),
    ] {
        let _ = text(&page);
        let _ = open_metrics(&page);
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}
