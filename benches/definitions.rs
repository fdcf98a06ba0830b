//! Files of checks as people write them, seeded: every run measures the same ones.

use std::path::Path;

use houston::evidence;

/// A small seeded generator of numbers (Knuth's MMIX constants).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A check of one of the kinds that are registered, as people write them: few distinct expectations, much repeated.
fn check(kind: &str, name: &str, service: &str, random: &mut Seeded) -> String {
    let limit = ["0.5", "0.8", "1.0", "2.5"][random.below(4) as usize];
    let ratio = ["0.01", "0.02", "0.05"][random.below(3) as usize];
    let host = random.below(5_000);
    match kind {
        "http" => format!(
            "  - name: {name}\n    http: {{ url: \"https://{service}-{host}.example.com/health\" }}\n    expect:\n      \
             - status == 200\n      - duration_seconds < {limit}\n      \
             - {{ that: certificate_expiry_days > 14, else: odd, note: renew with the runbook }}\n"
        ),
        "prometheus" => format!(
            "  - name: {name}\n    prometheus:\n      url: http://prometheus:9090\n      query: >-\n        \
             sum(rate(http_requests_total{{job=\"{service}\",code=~\"5..\"}}[5m])) /\n        \
             sum(rate(http_requests_total{{job=\"{service}\"}}[5m]))\n    expect: [ \"value < {ratio}\" ]\n"
        ),
        "log_file" => format!(
            "  - name: {name}\n    log_file: {{ paths: [/var/log/{service}/{host}/*.log], match: \"ERROR|panic\" }}\n    \
             expect: [ \"usual(matches_per_second)\", \"new_error_templates == 0\" ]\n    every: 1m\n"
        ),
        "access_log" => format!(
            "  - name: {name}\n    access_log: {{ paths: [/var/log/nginx/{service}-{host}.log] }}\n    \
             expect: [ \"usual(requests_per_second)\", \"error_ratio < {ratio}\" ]\n    labels: {{ tier: gold }}\n"
        ),
        _ => format!(
            "  - name: {name}\n    class: strong\n    params:\n      account: {{ from: ticket.customer, pattern: \
             '[a-z0-9-]{{3,32}}', default: synthetic-1 }}\n    control: synthetic\n    journey:\n      \
             - post: \"https://{service}.example.com/api/cart\"\n        json: {{ account: \"{{{{ account }}}}\" }}\n        \
             expect: [ status == 201 ]\n        capture: {{ cart: json.id }}\n      \
             - delete: \"https://{service}.example.com/api/cart/{{{{ cart }}}}\"\n        always: true\n"
        ),
    }
}

/// Writes so many files with so many checks each.
pub fn write(folder: &Path, files: usize, checks_a_file: usize) -> std::io::Result<()> {
    let mut random = Seeded(42);
    // Mostly the cheap kinds, some journeys, as in a real tree.
    let mix = ["http", "prometheus", "http", "log_file", "prometheus", "access_log", "http", "prometheus", "journey"];
    let kinds: Vec<&str> = mix.into_iter().filter(|name| evidence::kind(name).is_some()).collect();
    for file in 0..files {
        let service = format!("service-{}", file % 300);
        let mut text =
            format!("service: {service}\nowner: team-{}\ndefaults: {{ timeout: 5s }}\n\nchecks:\n", file % 40);
        for number in 0..checks_a_file {
            let kind = kinds[random.below(kinds.len() as u64) as usize];
            text.push_str(&check(kind, &format!("c-{file}-{number}"), &service, &mut random));
        }
        std::fs::write(folder.join(format!("{file:04}.yaml")), text)?;
    }
    Ok(())
}
