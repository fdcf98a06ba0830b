//! The shop's routes: their names in metrics, and how long each takes when all is well.

use super::random::Random;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Route {
    Front,
    Status,
    Search,
    OpenCart,
    ShowCart,
    AddItem,
    Pay,
    DropCart,
    Account,
    Health,
    Metrics,
    /// Whatever else is asked for: 404, or a method that doesn't fit.
    Other,
}

impl Route {
    pub fn of(method: &str, path: &str) -> Route {
        let mut parts = path.split('/').skip(1);
        let shape = [parts.next(), parts.next(), parts.next(), parts.next(), parts.next()];
        match (method, shape) {
            ("GET" | "HEAD", [Some(""), None, ..]) => Route::Front,
            ("GET" | "HEAD", [Some("status"), None, ..]) => Route::Status,
            ("GET" | "HEAD", [Some("healthz"), None, ..]) => Route::Health,
            ("GET" | "HEAD", [Some("metrics"), None, ..]) => Route::Metrics,
            ("GET" | "HEAD", [Some("api"), Some("search"), None, ..]) => Route::Search,
            ("GET" | "HEAD", [Some("api"), Some("account"), Some(_), None, ..]) => Route::Account,
            ("POST", [Some("api"), Some("cart"), None, ..]) => Route::OpenCart,
            ("GET" | "HEAD", [Some("api"), Some("cart"), Some(_), None, ..]) => Route::ShowCart,
            ("DELETE", [Some("api"), Some("cart"), Some(_), None, ..]) => Route::DropCart,
            ("POST", [Some("api"), Some("cart"), Some(_), Some("items"), None]) => Route::AddItem,
            ("POST", [Some("api"), Some("cart"), Some(_), Some("pay"), None]) => Route::Pay,
            _ => Route::Other,
        }
    }

    /// As metrics name it.
    pub fn label(self) -> &'static str {
        match self {
            Route::Front => "/",
            Route::Status => "/status",
            Route::Search => "/api/search",
            Route::OpenCart => "/api/cart",
            Route::ShowCart | Route::DropCart => "/api/cart/{id}",
            Route::AddItem => "/api/cart/{id}/items",
            Route::Pay => "/api/cart/{id}/pay",
            Route::Account => "/api/account/{name}",
            Route::Health => "/healthz",
            Route::Metrics => "/metrics",
            Route::Other => "other",
        }
    }

    /// Machines ask these, not customers: they are neither logged nor part of the shop's error ratio.
    pub fn is_for_machines(self) -> bool {
        matches!(self, Route::Health | Route::Metrics)
    }

    /// Part of buying something.
    pub fn is_checkout(self) -> bool {
        matches!(self, Route::OpenCart | Route::ShowCart | Route::AddItem | Route::Pay | Route::DropCart)
    }

    /// How long the shop works on such a request, in seconds: lognormal around a typical time, as services are.
    pub fn service_time(self, random: &mut Random) -> f64 {
        let typical = match self {
            Route::Front => 0.012,
            Route::Status | Route::ShowCart | Route::Account => 0.010,
            Route::Search => 0.040,
            Route::OpenCart => 0.025,
            Route::AddItem => 0.030,
            Route::Pay => 0.080,
            Route::DropCart => 0.015,
            Route::Other => 0.004,
            Route::Health | Route::Metrics => return 0.0,
        };
        typical * (random.normal() * 0.35).exp()
    }

    /// The seconds by which such a request is now and then held up though nothing is broken: a cold cache in the search,
    /// a payment gateway that answers on the second try.
    pub fn hiccup(self, random: &mut Random) -> Option<f64> {
        let share = match self {
            Route::Search => 0.012,
            Route::Pay => 0.008,
            _ => return None,
        };
        random.chance(share).then(|| 0.15 + 0.25 * random.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart() {
        for (method, path, expected) in [
            ("GET", "/", Route::Front),
            ("HEAD", "/", Route::Front),
            ("GET", "/status", Route::Status),
            ("GET", "/status/", Route::Other),
            ("GET", "/api/search", Route::Search),
            ("POST", "/api/search", Route::Other),
            ("POST", "/api/cart", Route::OpenCart),
            ("GET", "/api/cart/c-1", Route::ShowCart),
            ("DELETE", "/api/cart/c-1", Route::DropCart),
            ("POST", "/api/cart/c-1/items", Route::AddItem),
            ("POST", "/api/cart/c-1/pay", Route::Pay),
            ("POST", "/api/cart/c-1/pay/again", Route::Other),
            ("POST", "/api/cart/c-1/pay/again/and/again", Route::Other),
            ("GET", "/api/account/acme", Route::Account),
            ("GET", "/healthz", Route::Health),
            ("GET", "/metrics", Route::Metrics),
            ("GET", "/favicon.ico", Route::Other),
            ("BREW", "/", Route::Other),
            ("OPTIONS", "*", Route::Other),
        ] {
            assert_eq!(Route::of(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn service_times_stay_near_their_typical_value() {
        let mut random = Random::new(5);
        for _ in 0..2000 {
            let seconds = Route::Pay.service_time(&mut random);
            assert!((0.02..0.30).contains(&seconds), "{seconds}");
        }
        assert_eq!(Route::Health.service_time(&mut random), 0.0);
    }
}
