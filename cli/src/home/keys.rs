//! Keys of control planes that are not this home's, each in a file that only its owner reads.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::{Home, files};
use crate::error::{self, CliError, Result};

/// The folder of the keys, in the home.
pub const FOLDER: &str = "keys";
/// Longest key taken, in bytes.
pub const BYTES_MAX: usize = 512;

/// Keeps a key. Returns its file, relative to the home: of a name that nothing else has.
///
/// # Errors
/// When it cannot be written.
pub fn save(home: &Home, key: &SecretString) -> Result<String> {
    let folder = home.root().join(FOLDER);
    home.make(&folder)?;
    let random = weir_runtime::rng::bytes().map_err(|e| error::io("write", &folder, &e))?;
    let file = format!("{FOLDER}/{:016x}", u64::from_le_bytes(random));
    let path = home.root().join(&file);
    files::replace(&path, key.expose_secret().as_bytes(), 0o600)
        .map_err(|e| error::io("write", &path, &e))?;
    Ok(file)
}

/// Reads a key.
///
/// # Errors
/// When there is none, or it cannot be read or is none.
pub fn load(path: &Path) -> Result<SecretString> {
    let hint = "connect again with the key: weir cloud connect --url URL --profile NAME";
    match files::read(path).map_err(|e| error::io("read", path, &e))? {
        None => {
            Err(CliError::new(format!("the profile's key is missing: {}", path.display()), hint))
        }
        Some(text) => parse(&text).ok_or_else(|| {
            CliError::new(format!("{} holds no key of a control plane", path.display()), hint)
        }),
    }
}

/// Removes a key's file, if it is one of this folder.
///
/// # Errors
/// When it cannot be removed.
pub fn forget(home: &Home, file: &str) -> Result<()> {
    if !is_kept_here(file) {
        return Ok(());
    }
    let path: PathBuf = home.root().join(file);
    files::remove(&path).map_err(|e| error::io("remove", &path, &e))
}

fn is_kept_here(file: &str) -> bool {
    let name = file.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/'));
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A key, if the text can be one: no more than a server takes, and fit for a header.
pub fn parse(text: &str) -> Option<SecretString> {
    let key = text.trim();
    let fits = (1..=BYTES_MAX).contains(&key.len());
    (fits && key.chars().all(|c| c.is_ascii_graphic())).then(|| key.to_owned().into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_kept_private_and_forgotten() {
        let base = tempfile::tempdir().unwrap();
        let home = Home::find(Some(base.path().to_owned())).unwrap();
        let file = save(&home, &"weir_x".into()).unwrap();
        let path = home.root().join(&file);
        assert_eq!(load(&path).unwrap().expose_secret(), "weir_x");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        forget(&home, &file).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("missing"));
    }

    #[test]
    fn only_own_files_are_removed_and_only_keys_are_taken() {
        assert!(is_kept_here("keys/00ff") && !is_kept_here("control-plane/admin-key"));
        assert!(!is_kept_here("keys/../profiles.toml") && !is_kept_here("keys/"));
        assert!(parse(" weir_a \n").is_some());
        assert!(parse("").is_none() && parse("two words").is_none());
        assert!(parse(&"x".repeat(513)).is_none());
    }
}
