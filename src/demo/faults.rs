//! The ways in which the shop can be broken, by name.

use std::collections::BTreeSet;

use super::catalog;

/// One way in which the shop is really broken. Several can hold at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing is broken: setting it repairs the shop.
    None,
    /// The currency of this customer's account is spoilt in the ledger: its payments fail, slowly, with 502.
    CustomerOnly(String),
    /// The payment gateway can't be reached: everybody's payments fail with 503.
    PayDown,
    /// The database holds a lock for too long: search and payment take 1.5 s more.
    SlowDb,
    /// A release with a bug: one request in five fails with 500.
    BadDeploy,
    /// The search index is down: 503.
    SearchDown,
    /// In place of the metrics, a proxy's HTML error page (502).
    MetricsDead,
    /// The metrics page takes the request and never answers.
    MetricsHang,
    /// Nothing is written to the logs any more.
    LogsSilent,
    /// The log files are somewhere else.
    LogsGone,
    /// [`Fault::MetricsHang`] and [`Fault::LogsGone`] together.
    Blind,
    /// The cart's API takes whoever doesn't send a browser's `User-Agent` for a robot: 429.
    BotsRefused,
}

/// A fault that the shop doesn't have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownFault {
    #[error("no fault is called \"{name}\"; there are {}", NAMES.join(", "))]
    Name { name: String },
    #[error("the fault customer-only needs to know which customer's (customer-only=acme)")]
    CustomerMissing,
    #[error("the shop has no customer \"{name}\"")]
    Customer { name: String },
    #[error("the fault {fault} isn't about a customer")]
    NotAboutACustomer { fault: &'static str },
}

/// Every fault's name.
pub const NAMES: &[&str] = &[
    "none",
    "customer-only",
    "pay-down",
    "slow-db",
    "bad-deploy",
    "search-down",
    "metrics-dead",
    "metrics-hang",
    "logs-silent",
    "logs-gone",
    "blind",
    "bots-refused",
];

impl Fault {
    /// The fault of this name; a customer belongs to `customer-only` alone.
    ///
    /// # Errors
    /// No such fault, no such customer, or a customer where none belongs.
    pub fn new(name: &str, customer: Option<&str>) -> Result<Fault, UnknownFault> {
        let fault = match name {
            "none" => Fault::None,
            "customer-only" => Fault::CustomerOnly(customer.ok_or(UnknownFault::CustomerMissing)?.to_owned()),
            "pay-down" => Fault::PayDown,
            "slow-db" => Fault::SlowDb,
            "bad-deploy" => Fault::BadDeploy,
            "search-down" => Fault::SearchDown,
            "metrics-dead" => Fault::MetricsDead,
            "metrics-hang" => Fault::MetricsHang,
            "logs-silent" => Fault::LogsSilent,
            "logs-gone" => Fault::LogsGone,
            "blind" => Fault::Blind,
            "bots-refused" => Fault::BotsRefused,
            _ => return Err(UnknownFault::Name { name: name.chars().take(64).collect() }),
        };
        if customer.is_some() && fault.customer().is_none() {
            return Err(UnknownFault::NotAboutACustomer { fault: fault.name() });
        }
        fault.check()?;
        Ok(fault)
    }

    /// As [`NAMES`] has it.
    pub fn name(&self) -> &'static str {
        match self {
            Fault::None => "none",
            Fault::CustomerOnly(_) => "customer-only",
            Fault::PayDown => "pay-down",
            Fault::SlowDb => "slow-db",
            Fault::BadDeploy => "bad-deploy",
            Fault::SearchDown => "search-down",
            Fault::MetricsDead => "metrics-dead",
            Fault::MetricsHang => "metrics-hang",
            Fault::LogsSilent => "logs-silent",
            Fault::LogsGone => "logs-gone",
            Fault::Blind => "blind",
            Fault::BotsRefused => "bots-refused",
        }
    }

    /// Whom it hits, where that is one customer.
    pub fn customer(&self) -> Option<&str> {
        match self {
            Fault::CustomerOnly(customer) => Some(customer),
            _ => None,
        }
    }

    /// Refuses a customer that the shop doesn't have.
    pub(super) fn check(&self) -> Result<(), UnknownFault> {
        match self.customer() {
            Some(name) if catalog::find_customer(name).is_none() => {
                Err(UnknownFault::Customer { name: name.chars().take(64).collect() })
            }
            _ => Ok(()),
        }
    }
}

impl std::str::FromStr for Fault {
    type Err = UnknownFault;

    /// `pay-down`, `customer-only=acme`
    fn from_str(text: &str) -> Result<Fault, UnknownFault> {
        match text.split_once('=') {
            Some((name, customer)) => Fault::new(name, Some(customer)),
            None => Fault::new(text, None),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.customer() {
            Some(customer) => write!(f, "{}={customer}", self.name()),
            None => f.write_str(self.name()),
        }
    }
}

/// The faults that hold at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Active(BTreeSet<Fault>);

impl Active {
    pub fn add(&mut self, fault: Fault) {
        if fault == Fault::None {
            self.0.clear();
        } else {
            self.0.insert(fault);
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn list(&self) -> Vec<Fault> {
        self.0.iter().cloned().collect()
    }

    pub fn has(&self, fault: &Fault) -> bool {
        self.0.contains(fault)
    }

    pub fn metrics_hang(&self) -> bool {
        self.has(&Fault::MetricsHang) || self.has(&Fault::Blind)
    }

    pub fn logs_gone(&self) -> bool {
        self.has(&Fault::LogsGone) || self.has(&Fault::Blind)
    }

    /// The account of this customer is spoilt.
    pub fn spoils(&self, customer: &str) -> bool {
        self.0.iter().any(|fault| fault.customer() == Some(customer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_makes_the_fault_of_that_name_and_is_read_back() {
        for name in NAMES {
            let customer = (*name == "customer-only").then_some("acme");
            let fault = Fault::new(name, customer).unwrap();
            assert_eq!(fault.name(), *name);
            assert_eq!(fault.to_string().parse::<Fault>(), Ok(fault));
        }
    }

    #[test]
    fn what_is_no_fault_is_refused_with_the_reason() {
        for (text, expected) in [
            ("pay", "no fault is called \"pay\"; there are none, customer-only, pay-down"),
            ("", "no fault is called \"\""),
            ("customer-only", "needs to know which customer"),
            ("customer-only=", "no customer \"\""),
            ("customer-only=nobody", "no customer \"nobody\""),
            ("pay-down=acme", "pay-down isn't about a customer"),
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn several_hold_at_once_and_none_repairs_them_all() {
        let mut active = Active::default();
        active.add(Fault::Blind);
        active.add(Fault::CustomerOnly("acme".into()));
        assert!(active.metrics_hang() && active.logs_gone() && active.spoils("acme") && !active.spoils("globex"));
        assert_eq!(active.list().len(), 2);
        active.add(Fault::None);
        assert_eq!(active, Active::default());
    }
}
