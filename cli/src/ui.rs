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
    /// Looks at the terminal and at `NO_COLOR`.
    pub fn new(quiet: bool, no_color: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let asked_not_to = no_color || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self { quiet, terminal, color: terminal && !asked_not_to }
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

fn say(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "{text}");
}
