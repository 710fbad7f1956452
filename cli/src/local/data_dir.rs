//! The folder that a cluster of this home was given for its data, where it is not the home's.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use crate::error::{self, CliError, Result};

/// A folder as it is told, made absolute: from the folder `from`, else from the current one. It
/// need not be there.
///
/// # Errors
/// When it cannot be one for data.
pub fn absolute(told: &Path, from: Option<&Path>) -> Result<String> {
    let joined = from.map_or_else(|| told.to_owned(), |from| from.join(told));
    let joined = std::path::absolute(&joined).map_err(|e| error::io("find", &joined, &e))?;
    // What `..` leads to is known only where all before it is there.
    let path = match joined.components().any(|part| part == Component::ParentDir) {
        true => resolved(&joined)?,
        false => joined,
    };
    let shown = path.display();
    let Some(text) = path.to_str().filter(|text| !text.contains(char::is_control)) else {
        return Err(CliError::usage(
            format!("{shown} cannot be named to the control plane"),
            "choose a folder with a name of plain text",
        ));
    };
    if path.parent().is_none() {
        return Err(CliError::usage(
            format!("the data cannot go to {shown} itself"),
            "name a folder below it, for instance --data-dir /var/lib/weir",
        ));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// The same path without `..`.
fn resolved(path: &Path) -> Result<PathBuf> {
    let there = path.ancestors().find(|folder| folder.exists()).unwrap_or_else(|| Path::new("/"));
    let rest = path.strip_prefix(there).unwrap_or_else(|_| Path::new(""));
    if rest.components().any(|part| part == Component::ParentDir) {
        return Err(CliError::usage(
            format!("{} goes up from a folder that is not there", path.display()),
            "name it without \"..\"",
        ));
    }
    let real = fs::canonicalize(there).map_err(|e| error::io("find", there, &e))?;
    Ok(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
}

/// Removes the folder that was made for a cluster which is gone, if nothing is in it. Returns
/// whether it is gone.
pub fn remove_empty(folder: &str) -> bool {
    match fs::remove_dir(folder) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_absolute() {
        let base = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(base.path()).unwrap();
        let from = Some(base.path());
        let told = |path: &str| absolute(Path::new(path), from);
        let beside = |name: &str| base.path().join(name).to_str().unwrap().to_owned();
        assert_eq!(told("data"), Ok(beside("data")));
        assert_eq!(told("./a/b/"), Ok(beside("a/b")));
        assert_eq!(told("/srv/weir"), Ok("/srv/weir".to_owned()));
        fs::create_dir(base.path().join("there")).unwrap();
        assert_eq!(told("there/../data"), Ok(real.join("data").to_str().unwrap().to_owned()));
        assert!(told("missing/../data").is_err());
        for bad in ["/", "//", "a\nb"] {
            assert!(told(bad).is_err(), "{bad:?}");
        }
        assert!(Path::new(&absolute(Path::new("x"), None).unwrap()).is_absolute());
    }

    #[test]
    fn only_an_empty_folder_is_removed() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("data");
        let text = folder.to_str().unwrap();
        fs::create_dir_all(folder.join("other")).unwrap();
        assert!(!remove_empty(text));
        fs::remove_dir(folder.join("other")).unwrap();
        assert!(remove_empty(text) && !folder.exists() && remove_empty(text));
    }
}
