//! The folder that holds everything local: `WEIR_HOME`, by default `~/.weir`.
//!
//! ```text
//! lock                    held while the control plane is started or stopped
//! profiles.lock           held while the profiles are changed
//! profiles.toml           the current cluster, and what is known of each
//! tokens/<cluster id>     data-plane tokens with their expiry       (mode 0600)
//! keys/<random>           keys of other control planes               (mode 0600)
//! control-plane/          weir.db, endpoint.json, log, the admin key (mode 0600)
//! clusters/<cluster id>/spu-<n>/   the SPUs' data, of clusters without a folder of their own
//! ```

pub mod files;
pub mod keys;
pub mod lock;
pub mod profiles;
pub mod target;
pub mod tokens;

use std::{
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use crate::error::{self, CliError, Result};

/// Where everything local lies. Made when something is written to it, not before.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// `WEIR_HOME`, else `~/.weir`.
    ///
    /// # Errors
    /// When neither can be told.
    pub fn find(given: Option<PathBuf>) -> Result<Self> {
        let given = given.filter(|path| !path.as_os_str().is_empty());
        let root = given.or_else(|| std::env::home_dir().map(|home| home.join(".weir")));
        let root = root.ok_or_else(|| {
            CliError::new("no home folder: neither WEIR_HOME nor HOME is set", "set WEIR_HOME")
        })?;
        // Servers are started with these paths and may have another current folder.
        let root = std::path::absolute(&root).map_err(|e| error::io("find", &root, &e))?;
        Ok(Self { root })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The control plane's folder.
    pub fn control_plane(&self) -> PathBuf {
        self.root.join("control-plane")
    }

    /// Where the control plane writes what it does.
    pub fn control_plane_log(&self) -> PathBuf {
        self.control_plane().join("log")
    }

    /// Where the SPUs' data lies.
    pub fn clusters(&self) -> PathBuf {
        self.root.join("clusters")
    }

    /// Where the data of one cluster lies: in a folder of its own if it was given one.
    pub fn cluster_data(&self, data_dir: Option<&str>, id: &str) -> PathBuf {
        data_dir.map_or_else(|| self.clusters(), PathBuf::from).join(id)
    }

    /// Which clusters are known.
    pub fn profiles(&self) -> PathBuf {
        self.root.join("profiles.toml")
    }

    /// What keeps two changes of the profiles apart.
    pub fn profiles_lock(&self) -> PathBuf {
        self.root.join("profiles.lock")
    }

    /// Data-plane tokens.
    pub fn tokens(&self) -> PathBuf {
        self.root.join("tokens")
    }

    /// What keeps two starts apart.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Makes a folder of this home, and the home, for nobody else to read.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&self, folder: &Path) -> Result<()> {
        make_private(folder).map_err(|e| error::io("make the folder", folder, &e))
    }
}

fn make_private(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn folders_are_made_private() {
        let base = tempfile::tempdir().unwrap();
        let home = Home::find(Some(base.path().join("a/b"))).unwrap();
        home.make(&home.control_plane()).unwrap();
        home.make(&home.control_plane()).unwrap();
        for folder in [home.root(), home.control_plane().as_path()] {
            let mode = std::fs::metadata(folder).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
    }

    #[test]
    fn a_relative_home_is_made_absolute() {
        assert!(Home::find(Some("here".into())).unwrap().root().is_absolute());
    }
}
