//! Standard error: notes, progress, errors. Never fails: a closed terminal is no reason to stop.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::error::CliError;

/// How much is told, and how.
#[derive(Clone, Copy, Debug)]
pub struct Ui {
    quiet: bool,
    terminal: bool,
    color: bool,
}

impl Ui {
    /// Looks at the terminal, and at `NO_COLOR`, `CLICOLOR` and `CLICOLOR_FORCE`.
    pub fn new(quiet: bool, no_color: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let color = !no_color && colored(terminal, variable);
        Self { quiet, terminal, color }
    }

    /// Whether only errors and what was asked for are to be printed.
    pub fn quiet(self) -> bool {
        self.quiet
    }

    /// Whether somebody may be looking on.
    pub fn terminal(self) -> bool {
        self.terminal
    }

    /// A sentence beside the result.
    pub fn note(self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }

    /// What stands before what the user types, on the same line.
    pub fn prompt(self, text: &str) {
        if !self.quiet {
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "{text}");
            let _ = stderr.flush();
        }
    }

    /// Something that the user should know although nothing failed.
    pub fn warn(self, text: &str) {
        say(&format!("{} {text}", self.paint("warning:", "33")));
    }

    /// An error with its hint.
    pub fn error(self, error: &CliError) {
        if let CliError::Told { what, hint, .. } = error {
            say(&format!("{} {what}", self.paint("error:", "31")));
            say(&format!("{} {hint}", self.paint("hint:", "36")));
        }
    }

    /// A spinner with a text, on a terminal; elsewhere nothing.
    pub fn spinner(self, text: impl Into<String>) -> Progress {
        if self.quiet || !self.terminal {
            return Progress(None);
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.set_message(text.into());
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress(Some(bar))
    }

    fn paint(self, text: &str, code: &str) -> String {
        if self.color { format!("\u{1b}[1;{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Progress that is shown on a terminal and vanishes when it is dropped.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Nothing is shown.
    pub fn none() -> Self {
        Self(None)
    }

    /// Shows another text. It is made only where it is shown.
    pub fn set(&self, text: impl FnOnce() -> String) {
        if let Some(bar) = &self.0 {
            bar.set_message(text());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Whether to colour, by what the environment says: what turns colours off comes first.
fn colored(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    if variable("NO_COLOR").is_some() || variable("CLICOLOR").is_some_and(|value| value == "0") {
        return false;
    }
    terminal || variable("CLICOLOR_FORCE").is_some_and(|value| value != "0")
}

fn say(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_as_the_environment_says() {
        let with = |terminal, name: &str, value: &str| {
            colored(terminal, |asked| (asked == name).then(|| value.to_owned()))
        };
        assert!(with(true, "", "") && !with(false, "", ""));
        assert!(!with(true, "NO_COLOR", "1") && !with(true, "CLICOLOR", "0"));
        assert!(with(true, "CLICOLOR", "1") && !with(false, "CLICOLOR", "1"));
        assert!(with(false, "CLICOLOR_FORCE", "1") && !with(false, "CLICOLOR_FORCE", "0"));
    }
}
