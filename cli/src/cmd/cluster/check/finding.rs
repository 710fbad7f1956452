//! What one look came to.

use serde::Serialize;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, and may not for long.
    Doubtful,
    /// It does not work, or is not safe.
    Wrong,
}

/// What one look came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at; stable.
    pub check: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What `--fix` did about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Good, found: found.into(), remedy: None, fixed: None }
    }

    /// It works, and may not for long.
    pub fn doubtful(
        check: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let remedy = Some(remedy.into());
        Self { verdict: Verdict::Doubtful, remedy, ..Self::good(check, found) }
    }

    /// It does not work, or is not safe.
    pub fn wrong(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { verdict: Verdict::Wrong, remedy, ..Self::good(check, found) }
    }

    /// It was not right and is now.
    pub fn fixed(check: &'static str, found: impl Into<String>, fixed: impl Into<String>) -> Self {
        Self { fixed: Some(fixed.into()), ..Self::good(check, found) }
    }

    /// For people.
    pub fn told(&self) -> String {
        let mark = match self.verdict {
            Verdict::Good => '✓',
            Verdict::Doubtful => '!',
            Verdict::Wrong => '✗',
        };
        let mut text = format!("{mark} {:<14} {}", self.check, self.found);
        for (word, what) in [("fixed", &self.fixed), ("remedy", &self.remedy)] {
            if let Some(what) = what {
                text += &format!("\n  {:<14} {word}: {what}", "");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_told_with_its_remedy() {
        let text = Finding::wrong("disk", "no room", "make some").told();
        assert_eq!(text, "✗ disk           no room\n                 remedy: make some");
        assert!(Finding::fixed("home", "a", "b").told().starts_with("✓ home"));
        let json = serde_json::to_value(Finding::good("disk", "room")).unwrap();
        assert_eq!(json, serde_json::json!({"check": "disk", "verdict": "good", "found": "room"}));
    }
}
