//! The key of a control plane: from the environment, standard input or a terminal, never from
//! the command line, which others see.

use std::io::{self, IsTerminal as _, Read as _};

use secrecy::SecretString;

use crate::{
    error::{CliError, Result, system},
    home::keys,
    prompt,
};

/// Where the key is looked for.
pub const VARIABLE: &str = "WEIR_API_KEY";

/// The key: from standard input if that is asked for, else `WEIR_API_KEY`, else asked on a
/// terminal.
///
/// # Errors
/// When there is none, or what there is cannot be a key.
pub fn obtain(stdin: bool) -> Result<SecretString> {
    if stdin {
        return usable(&from_stdin()?, "standard input");
    }
    if let Some(text) = std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) {
        return usable(&text.to_string_lossy(), VARIABLE);
    }
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        return usable(&prompt::secret("API key: ")?, "what was typed");
    }
    Err(CliError::usage(
        "no key for the control plane was given",
        format!(
            "set {VARIABLE}, or give it on standard input: weir … --key-stdin < FILE; a control \
             plane writes its admin's to admin-key in its data folder (~/.weir/control-plane for \
             one that weir cluster create started)"
        ),
    ))
}

fn from_stdin() -> Result<String> {
    let mut bytes = Vec::new();
    // One more than fits: what is too long is told, not cut.
    let limit = keys::BYTES_MAX as u64 + 3;
    io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(|e| {
        CliError::new(format!("cannot read the key: {}", system(&e)), format!("or set {VARIABLE}"))
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn usable(text: &str, place: &str) -> Result<SecretString> {
    keys::parse(text).ok_or_else(|| {
        CliError::usage(
            format!("there is no key in {place}"),
            "a key is one word like weir_local_…; a control plane writes its admin's to admin-key in \
             its data folder",
        )
    })
}
