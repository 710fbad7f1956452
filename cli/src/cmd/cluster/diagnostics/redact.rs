//! What must not leave this machine is taken out of a text: what is known to be secret here, and
//! what looks as if it were.
//!
//! Rather too much is taken out than too little: a text that lost a harmless word still helps.

use regex::{Captures, Regex};
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::{CliError, Result};

/// What stands where something was taken out.
const MARK: &str = "[redacted]";
/// A shorter text would be found everywhere.
const KNOWN_LENGTH_MIN: usize = 8;

/// What secrets look like, and what is left of each. The order counts: what a later one finds
/// may stand in what an earlier one has left.
const SHAPES: [(&str, &str); 11] = [
    // Headers that say who asks, up to the end of the line or of the text that they stand in.
    (
        r#"(?ix)
        ( \b (?: (?:proxy-)?authorization | (?:set-)?cookie ) (?: \\?["'] )? \s* [:=] \s* )
        (?: \[redacted\] | \\?["'] [^"'\r\n]* ["'] | [^"'\r\n\\]+ )"#,
        "${1}[redacted]",
    ),
    // Private keys, also where the end was cut off.
    (r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)", MARK),
    // An API key of Weir, whole or cut off; what tells which one it is stays.
    (r"(?i)\b(weir_[a-z0-9]+_[0-9a-f]{4,32})_[0-9a-z_]+", "${1}_[redacted]"),
    // Tokens: three parts of base64 (JWT).
    (r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?", MARK),
    (r"(?i)\b(bearer|basic|digest)(\s+)[A-Za-z0-9._~+/=-]{6,}", "${1}${2}[redacted]"),
    // Who and by which password, in a URL. A password may hold anything but white space.
    (r#"(?i)\b([a-z][a-z0-9+.-]*://)[^\s"'<>]*@"#, "${1}[redacted]@"),
    // What a URL is asked for by name.
    (r"(?i)([?&](?:sig|signature|auth|key|code)=)[^&\s]+", "${1}[redacted]"),
    // Named, in environments and options: whatever comes up to the next space, unless it is quoted.
    (
        r#"(?ix)
        ( [a-z0-9_.-]* (?: secret | passw(?:or)?d | passphrase | token | api[_-]?key | admin[_-]?key
            | private[_-]?key | access[_-]?key | pepper | credential | pwd )
          [a-z0-9_.-]* = ) [^\s"'\\&\[][^\s"'&]*"#,
        "${1}[redacted]",
    ),
    // Named: in environments, options, YAML, TOML and JSON, there also within a text.
    (
        r#"(?ix)
        ( [a-z0-9_.-]* (?: secret | passw(?:or)?d | passphrase | token | api[_-]?key | admin[_-]?key
            | private[_-]?key | access[_-]?key | pepper | credential | pwd )
          [a-z0-9_.-]* (?: \\?["'] )? \s* [:=] \s* )
        (?: \[redacted\] | \\"(?:[^"\\])*\\" | "(?:[^"\\]|\\.)*" | '[^']*' | [^\s"',;&}\]]+ )"#,
        "${1}[redacted]",
    ),
    // The same as options of a command line.
    (
        r"(?i)(--[a-z-]*(?:secret|password|passphrase|token|api-key)[a-z-]*\s+)[^\s-][^\s]*",
        "${1}[redacted]",
    ),
    // Launch secrets, hashes, raw keys: long runs of hexadecimal digits.
    (r"(?i)\b[0-9a-f]{64,}\b", MARK),
];

/// Takes secrets out of texts.
pub struct Redactor {
    shapes: Vec<(Regex, &'static str)>,
    known: Vec<SecretString>,
}

impl Redactor {
    /// One that knows these secrets, and what others look like.
    ///
    /// # Errors
    /// Only by a mistake in this module.
    pub fn new(known: Vec<SecretString>) -> Result<Self> {
        let shape = |(shape, left): &(&str, &'static str)| Ok((Regex::new(shape)?, *left));
        let shapes: Result<_, regex::Error> = SHAPES.iter().map(shape).collect();
        let shapes = shapes.map_err(|error| {
            CliError::new(
                format!("what is secret cannot be told: {error}"),
                "this is a bug in weir",
            )
        })?;
        let long = |secret: &SecretString| secret.expose_secret().len() >= KNOWN_LENGTH_MIN;
        Ok(Self { shapes, known: known.into_iter().filter(long).collect() })
    }

    /// The text without secrets, and how many were taken out.
    pub fn text(&self, text: &str) -> (String, usize) {
        let mut count = 0;
        let mut text = text.to_owned();
        for secret in &self.known {
            let secret = secret.expose_secret();
            let found = text.matches(secret).count();
            if found > 0 {
                count += found;
                text = text.replace(secret, MARK);
            }
        }
        for (shape, left) in &self.shapes {
            let before = count;
            let replaced = shape.replace_all(&text, |found: &Captures<'_>| {
                let mut kept = String::new();
                found.expand(left, &mut kept);
                // What was taken out before is not counted again.
                count += usize::from(kept != found[0]);
                kept
            });
            if count > before {
                text = replaced.into_owned();
            }
        }
        (text, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef";

    fn redacted(text: &str) -> String {
        let redactor = Redactor::new(vec!["hunter2hunter2".into(), "short".into()]).unwrap();
        let (once, count) = redactor.text(text);
        assert_eq!(count > 0, once != text, "{text}");
        assert_eq!(redactor.text(&once), (once.clone(), 0), "twice is once");
        once
    }

    #[test]
    fn secrets_are_taken_out_and_the_rest_stays() {
        let key = format!("weir_local_{HEX}_{HEX}{HEX}_1a2b3c4d");
        for (text, left) in [
            (key.clone(), format!("weir_local_{HEX}_[redacted]")),
            (format!("key={key}."), "key=".to_owned()),
            (format!("a \"{key}\" b"), format!("a \"weir_local_{HEX}_[redacted]\" b")),
            ("the hunter2hunter2!".into(), "the [redacted]!".into()),
            ("Authorization: Bearer abc.DEF-123".into(), "Authorization: ".into()),
            ("authorization: Own abc.DEF of me\nb".into(), "authorization: [redacted]\nb".into()),
            (r#"{"Cookie":"a=abc.DEF","n":1}"#.into(), r#"{"Cookie":[redacted],"n":1}"#.into()),
            ("spu --join-token abc.DEF --n 1".into(), "--join-token [redacted] --n 1".into()),
            ("API_PASSWORD=ab;cd,DEF} n".into(), "API_PASSWORD=[redacted] n".into()),
            ("host=db pwd=abc.DEF".into(), "host=db pwd=[redacted]".into()),
            ("got bearer abcdef123 from".into(), "got bearer [redacted] from".into()),
            (
                "postgres://user:p@ss/w?rd@db:5432/weir?sslmode=require".into(),
                "postgres://[redacted]@db:5432/weir?sslmode=require".into(),
            ),
            ("http://h/x?sig=abc&n=1".into(), "http://h/x?sig=[redacted]&n=1".into()),
            ("WEIR_LAUNCH_SECRET=00ff".into(), "WEIR_LAUNCH_SECRET=[redacted]".into()),
            (r#"{"password":"a b","n":1}"#.into(), r#"{"password":[redacted],"n":1}"#.into()),
            (r#"{"m":"{\"token\":\"x y\",\"n\":1}"}"#.into(), r#"\"n\":1}"}"#.into()),
            ("secret_access_key: 'a b' # c".into(), "secret_access_key: [redacted] # c".into()),
            ("eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIx.c2ln left".into(), "[redacted] left".into()),
            (format!("proof {HEX}{HEX}{HEX}{HEX} end"), "proof [redacted] end".into()),
            (
                "a\n-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\nb".into(),
                "a\n[redacted]\nb".into(),
            ),
            ("-----BEGIN EC PRIVATE KEY-----\ncut".into(), "[redacted]".into()),
        ] {
            let told = redacted(&text);
            assert!(told.contains(&left), "{text} became {told}");
            for secret in [
                &format!("{HEX}_{HEX}"),
                "hunter2hunter2",
                "DEF",
                "abcdef123",
                "p@ss",
                "00ff",
                "a b",
                "x y",
                "eyJ",
                "MC4C",
                "cut",
                "abc&",
            ] {
                assert!(!told.contains(secret), "{secret} is in {told}");
            }
        }
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        for text in [
            "2026-01-01T00:00:00Z  INFO weir::serve: serving address=127.0.0.1:9600",
            "cl_00000000000000000000000000000007",
            "launch 018f3c4e-0000-7000-8000-000000000001 of spu-1",
            "http://127.0.0.1:9400/v1/clusters?limit=3",
            "weir_produce_batches_total 17",
            "short",
            "",
        ] {
            assert_eq!(redacted(text), text);
        }
    }
}
