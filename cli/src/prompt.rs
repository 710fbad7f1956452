//! Asking on a terminal: before what cannot be undone, for a key, which of several.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::error::{CliError, Result, system};

/// Longest answer taken, in bytes.
const LINE_BYTES_MAX: usize = 4096;

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

/// Asks for something that nobody may read along.
///
/// # Errors
/// When nothing can be read, or Ctrl-C is typed.
pub fn secret(question: &str) -> Result<String> {
    let broken = |error: io::Error| {
        CliError::new(format!("no answer: {}", system(&error)), "is this a terminal?")
    };
    let quiet = Quiet::begin().map_err(broken)?;
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{question}");
    let _ = stderr.flush();
    let typed = read_typed(io::stdin().lock()).map_err(broken);
    drop(quiet);
    let _ = writeln!(stderr);
    typed?.ok_or_else(|| CliError::interrupted("nothing was done", "run the command again"))
}

/// What is typed up to the end of the line; `None` at Ctrl-C.
fn read_typed(input: impl io::BufRead) -> io::Result<Option<String>> {
    let mut typed = Vec::new();
    for byte in input.bytes().take(LINE_BYTES_MAX) {
        match byte? {
            3 => return Ok(None),
            4 | b'\r' | b'\n' => break,
            8 | 127 => drop(typed.pop()),
            byte => typed.push(byte),
        }
    }
    Ok(Some(String::from_utf8_lossy(&typed).into_owned()))
}

/// A terminal that shows nothing of what is typed, and hands Ctrl-C over as a byte, so that
/// it is itself again whatever happens.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}

/// Asks which of several; `None` without a terminal, or when the answer is none of them.
pub fn choose(question: &str, names: &[&str]) -> Option<String> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return None;
    }
    let mut stderr = io::stderr().lock();
    for (index, name) in names.iter().enumerate() {
        let _ = writeln!(stderr, "{:>3}  {name}", index + 1);
    }
    let _ = write!(stderr, "{question} (a number or a name) ");
    let _ = stderr.flush();
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).ok()?;
    pick(answer.trim(), names).map(str::to_owned)
}

fn pick<'a>(answer: &str, names: &[&'a str]) -> Option<&'a str> {
    let by_name = names.iter().find(|name| **name == answer);
    let by_number = || answer.parse::<usize>().ok()?.checked_sub(1).and_then(|at| names.get(at));
    by_name.or_else(by_number).copied()
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_ends_with_the_line_and_can_be_mended() {
        let typed = |bytes: &[u8]| read_typed(bytes).unwrap();
        assert_eq!(typed(b"kex\x7fy\nmore").as_deref(), Some("key"));
        assert_eq!(typed(b"key").as_deref(), Some("key"));
        assert_eq!(typed(b"ke\x03y\n"), None);
    }

    #[test]
    fn one_of_several_is_picked_by_number_or_name() {
        let names = ["a", "2"];
        assert_eq!(pick("1", &names), Some("a"));
        assert_eq!(pick("2", &names), Some("2"));
        assert_eq!(pick("0", &names), None);
        assert_eq!(pick("", &names), None);
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(is_yes("y\n") && is_yes(" YES "));
        assert!(!is_yes("") && !is_yes("n\n") && !is_yes("yep"));
    }
}
