//! Asking before something that cannot be undone.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::error::{CliError, Result, system};

/// Asks on a terminal, unless `yes`. Without a terminal nobody can answer: then only `yes`
/// goes on.
///
/// # Errors
/// When the answer is no, or there is nobody to ask.
pub fn confirm(yes: bool, question: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(CliError::usage(
            "this cannot be undone, and there is no terminal to ask on",
            "say --yes",
        ));
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
