//! What a new cluster is to be, from a file.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::error::{self, CliError, Result};

/// Most SPUs that can be asked for.
pub const SPUS_MAX: u32 = 100;
/// More is no file of ours.
const BYTES_MAX: u64 = 1 << 20;
const HINT: &str = "it may say name, spus, port_base and data_dir; see: weir cluster create --help";

/// What the file says. What it does not say is as without a file.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    /// The cluster's name.
    pub name: Option<String>,
    /// How many SPUs.
    #[serde(deserialize_with = "spus")]
    pub spus: Option<u32>,
    /// The first SPU's port.
    #[serde(deserialize_with = "port")]
    pub port_base: Option<u16>,
    /// Where the data goes; a relative one begins at the file's folder.
    pub data_dir: Option<PathBuf>,
}

/// Reads a file, or standard input for `-`.
///
/// # Errors
/// When it cannot be read, or says what no cluster can be; with the line.
pub fn read(path: &Path) -> Result<ConfigFile> {
    let mut text = String::new();
    let (shown, source): (String, Box<dyn io::Read>) = match path == Path::new("-") {
        true => ("standard input".to_owned(), Box::new(io::stdin())),
        false => {
            let file = File::open(path).map_err(|e| error::io("read", path, &e))?;
            (path.display().to_string(), Box::new(file))
        }
    };
    source
        .take(BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|e| CliError::new(format!("cannot read {shown}: {}", error::system(&e)), HINT))?;
    parse(&text, &shown)
}

fn parse(text: &str, shown: &str) -> Result<ConfigFile> {
    // A file with nothing but comments is fine.
    let said: Result<Option<ConfigFile>, _> = serde_yaml_ng::from_str(text);
    said.map(Option::unwrap_or_default).map_err(|error| {
        let told = error.to_string();
        let (what, line) = match error.location() {
            Some(at) => {
                let place = format!(" at line {} column {}", at.line(), at.column());
                (told.replace(&place, ""), format!(", line {}", at.line()))
            }
            None => (told, String::new()),
        };
        CliError::usage(format!("{shown}{line}: {}", what.replace('\n', " ")), HINT)
    })
}

fn spus<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let told = Option::<u32>::deserialize(from)?;
    match told.filter(|spus| *spus > SPUS_MAX) {
        Some(spus) => Err(D::Error::custom(format!("{spus} is not in 0..={SPUS_MAX}"))),
        None => Ok(told),
    }
}

fn port<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
    match Option::<u16>::deserialize(from)? {
        Some(0) => Err(D::Error::custom("0 is no port")),
        told => Ok(told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    #[test]
    fn a_file_says_some_or_all() {
        let all = "name: big\nspus: 3\nport_base: 9600\ndata_dir: data # beside it\n";
        let expected = ConfigFile {
            name: Some("big".into()),
            spus: Some(3),
            port_base: Some(9600),
            data_dir: Some("data".into()),
        };
        assert_eq!(parse(all, "f"), Ok(expected));
        assert_eq!(parse("spus: 0", "f").unwrap().spus, Some(0));
        for nothing in ["", "# nothing\n", "---\n", "{}"] {
            assert_eq!(parse(nothing, "f"), Ok(ConfigFile::default()), "{nothing:?}");
        }
    }

    #[test]
    fn a_mistake_is_told_with_file_and_line() {
        for (text, line, what) in [
            ("name: a\nspu: 3\n", 2, "spu"),
            ("name: a\n\nspus: many\n", 3, "spus"),
            ("spus: 101", 1, "101 is not in 0..=100"),
            ("name: a\nspus: -1", 2, "spus"),
            ("port_base: 0", 1, "0 is no port"),
            ("port_base: 70000", 1, "port_base"),
            ("name: a\nname: b\n", 1, "duplicate field `name`"),
            ("name: a: b", 1, "mapping values"),
        ] {
            let error = parse(text, "cluster.yaml").unwrap_err();
            assert_eq!(error.exit(), Exit::Usage);
            let CliError::Told { what: told, hint, .. } = error else { panic!() };
            let place = format!("cluster.yaml, line {line}: ");
            assert!(told.starts_with(&place) && told.contains(what), "{text:?}: {told}");
            assert!(!told.contains(" at line") && hint.contains("port_base"), "{told}");
        }
    }
}
