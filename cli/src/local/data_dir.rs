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

/// The topmost of the folders that have to be made for this one; none if it is there.
pub fn first_missing(folder: &str) -> Option<String> {
    let missing = Path::new(folder).ancestors().take_while(|folder| !folder.exists());
    missing.last()?.to_str().map(str::to_owned)
}

/// Removes the folder of a cluster that is gone, and those above it up to `top`, as far as nothing
/// is in them.
pub fn remove_empty(folder: &str, top: &str) {
    let made = Path::new(folder).ancestors().take_while(|folder| folder.starts_with(top));
    for folder in made {
        match fs::remove_dir(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return,
        }
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
    fn only_empty_folders_that_were_made_are_removed() {
        let base = tempfile::tempdir().unwrap();
        let at = |path: &str| base.path().join(path).to_str().unwrap().to_owned();
        let folder = at("a/b/c");
        let top = first_missing(&folder).unwrap();
        assert_eq!(top, at("a"));
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(first_missing(&folder), None);
        fs::create_dir(at("a/other")).unwrap();
        remove_empty(&folder, &top);
        assert!(!Path::new(&at("a/b")).exists() && Path::new(&at("a/other")).exists());
        fs::remove_dir(at("a/other")).unwrap();
        // What is gone is no obstacle.
        remove_empty(&folder, &top);
        assert!(!Path::new(&top).exists() && base.path().exists());
        fs::create_dir_all(&folder).unwrap();
        remove_empty(&folder, &at("a/b/c"));
        assert!(Path::new(&at("a/b")).exists());
    }
}
