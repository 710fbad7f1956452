//! Names that are near to one that was not found.

/// The nearest of `names`, if one is near enough to have been meant.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (similarity(wanted, name), name))
        .filter(|(similarity, _)| *similarity >= 0.8)
        // The first of equals, so that the answer does not depend on more than the order.
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, name)| name)
}

fn similarity(wanted: &str, name: &str) -> f64 {
    strsim::jaro_winkler(&wanted.to_lowercase(), &name.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_near_and_strangers_are_not() {
        let names = ["orders", "payments", "logs.nginx"];
        assert_eq!(nearest("order", names), Some("orders"));
        assert_eq!(nearest("Ordres", names), Some("orders"));
        assert_eq!(nearest("log.nginx", names), Some("logs.nginx"));
        assert_eq!(nearest("zzz", names), None);
        assert_eq!(nearest("orders", []), None);
    }
}
