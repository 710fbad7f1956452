//! Asking before something that takes something away.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::error::{CliError, Result, system};

/// Asks, unless `yes`, before something that cannot be undone.
///
/// # Errors
/// When the answer is no, or there is nobody to ask.
pub fn confirm(yes: bool, question: &str) -> Result<()> {
    ask(yes, question, "this cannot be undone, and there is no terminal to ask on")
}

/// Asks, unless `yes`, before something that can be undone.
///
/// # Errors
/// When the answer is no, or there is nobody to ask.
pub fn agree(yes: bool, question: &str) -> Result<()> {
    ask(yes, question, "this needs a yes, and there is no terminal to ask on")
}

/// Asks on a terminal. Without one nobody can answer: then only `yes` goes on.
fn ask(yes: bool, question: &str, nobody: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(CliError::usage(nobody, "say --yes"));
    }
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{question} [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|e| CliError::new(format!("no answer: {}", system(&e)), "say --yes"))?;
    if is_yes(&answer) {
        return Ok(());
    }
    Err(CliError::new("nothing was done", "answer y, or say --yes"))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(is_yes("y\n") && is_yes(" YES "));
        assert!(!is_yes("") && !is_yes("n\n") && !is_yes("yep"));
    }
}
