//! The URL of a control plane, as people type it.

use crate::error::{CliError, Result};

/// Longest URL taken, in bytes.
const BYTES_MAX: usize = 300;

/// `http://host:port` of what was typed: the scheme may be left out.
///
/// # Errors
/// When it is no URL of a control plane, or needs TLS.
pub fn parse(typed: &str) -> Result<String> {
    let wrong = |why: &str| {
        CliError::usage(
            format!("{typed:?} cannot be the URL of a control plane: {why}"),
            "give it as http://host:port, without a path",
        )
    };
    let (scheme, rest) = typed.trim().split_once("://").unwrap_or(("http", typed.trim()));
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        // Said without the URL, which has a secret in it.
        return Err(CliError::usage(
            "a key or password does not belong into the URL",
            "give the key in WEIR_API_KEY, or by --key-stdin",
        ));
    }
    if scheme.eq_ignore_ascii_case("https") {
        return Err(CliError::usage(
            "this weir does not speak TLS to a control plane yet",
            "use http:// within a network that you trust, or through a tunnel (ssh -L)",
        ));
    }
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(wrong("the scheme is http"));
    }
    if authority.is_empty() || authority.len() > BYTES_MAX {
        return Err(wrong("it names no host"));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(wrong("it has a path"));
    }
    if !authority.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b)) {
        return Err(wrong("a host has letters, digits, \".\" and \"-\" only"));
    }
    if let Some(port) = port(authority)
        && port.parse::<u16>().is_ok_and(|port| port > 0).eq(&false)
    {
        return Err(wrong("the port is 1 to 65535"));
    }
    Ok(format!("http://{authority}"))
}

fn port(authority: &str) -> Option<&str> {
    match authority.rsplit_once(']') {
        Some((_, behind)) => behind.strip_prefix(':'),
        None => authority.split_once(':').map(|(_, port)| port),
    }
}

/// Whether it is this machine: nobody reads along.
pub fn is_loopback(url: &str) -> bool {
    let authority = url.strip_prefix("http://").unwrap_or(url);
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_becomes_a_url() {
        for (typed, url) in [
            ("http://h:1", "http://h:1"),
            ("h:1/", "http://h:1"),
            (" HTTP://weir.example ", "http://weir.example"),
            ("http://[::1]:9400", "http://[::1]:9400"),
        ] {
            assert_eq!(parse(typed).unwrap(), url);
        }
        for bad in ["", "http://", "ftp://h", "http://h/v1", "h:0", "h:99999", "h:x", "h h", "h?x"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse("https://h").unwrap_err().to_string().contains("TLS"));
        let error = parse("http://u:secret@h").unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn this_machine_is_known() {
        for url in ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"] {
            assert!(is_loopback(url), "{url}");
        }
        assert!(!is_loopback("http://10.0.0.1:1") && !is_loopback("http://h"));
    }
}
