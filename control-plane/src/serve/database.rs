//! Which database a control plane keeps its tables in: SQLite in its data folder, or a
//! Postgres server. The folder notes which server, and which history is there, so that a
//! start that forgot it, or names another database, does not begin anew beside clusters that
//! run.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use secrecy::{ExposeSecret as _, SecretString};
use weir_protocol::ids::DatabaseId;
use weir_runtime::{
    clock::Clock,
    task::{self, CancellationToken},
};

use super::put_private;
use crate::store::{Alone, Contents, Database, PostgresDatabase, SqliteDatabase, without_password};

/// The variable that names a Postgres database.
pub const URL_VARIABLE: &str = "WEIR_DATABASE_URL";
/// The variable that lets a fresh data folder have a database with a history.
pub(super) const TAKE_OVER_VARIABLE: &str = "WEIR_TAKE_OVER_DATABASE";
/// The SQLite database, in the data folder.
pub(super) const SQLITE: &str = "weir.db";
/// In the data folder: the Postgres database, without password, and its id below.
const NOTE: &str = "database-url";

/// A database that is open.
pub(super) struct Opened {
    pub(super) database: Arc<dyn Database>,
    /// Postgres: no other control plane has it while this is kept.
    pub(super) alone: Option<Alone>,
    /// Postgres: to be completed once the database has an id for sure.
    pub(super) note: Option<(PathBuf, Note)>,
}

/// Which Postgres database a folder belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// Its URL, without password.
    at: String,
    /// Its id. Not there yet at the first start, and in notes of old builds.
    id: Option<DatabaseId>,
}

impl Note {
    /// With the id that the database turned out to have.
    pub(super) fn with(self, id: DatabaseId) -> Self {
        Self { id: Some(id), ..self }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let at = lines.next().unwrap_or_default().to_owned();
        let id = lines.next().map(str::parse).transpose();
        let id = id.map_err(|_| "its second line is no id of a database".to_owned())?;
        Ok(Self { at, id })
    }

    /// Whether the database at `at`, whose id is `found`, is the one that was noted. An
    /// address is only a way to it: there may be several. Pure.
    fn admits(&self, at: &str, found: Option<DatabaseId>, file: &Path) -> Result<(), String> {
        let Some(id) = self.id.filter(|id| found != Some(*id)) else { return Ok(()) };
        let is = found.map_or_else(
            || "an empty one".to_owned(),
            |found| format!("another one, with the id {found}"),
        );
        Err(format!(
            "the tables of this control plane are in {}, in the database with the id {id}, and \
             {at} is {is}: set {URL_VARIABLE} to the right one; or, to begin anew and give up \
             the clusters of the old one, delete them first and remove {}",
            self.at,
            file.display()
        ))
    }
}

/// Opens it. One that has a history and is not noted in the folder is another folder's, unless
/// that is to be taken over. `shutdown` is cancelled when another control plane took the Postgres database;
/// none may, as long as what comes with it is kept.
///
/// # Errors
/// A sentence for people.
pub(super) async fn open(
    data_dir: &Path,
    url: Option<&SecretString>,
    take_over: bool,
    shutdown: &CancellationToken,
) -> Result<Opened, String> {
    let (sqlite, note) = (data_dir.join(SQLITE), data_dir.join(NOTE));
    let Some(url) = url.filter(|url| !url.expose_secret().is_empty()) else {
        return match noted(&note).await? {
            None => {
                let database = Arc::new(SqliteDatabase::new(&sqlite, Clock));
                Ok(Opened { database, alone: None, note: None })
            }
            Some(Note { at, .. }) => Err(format!(
                "the tables of this control plane are in {at}: set {URL_VARIABLE} to it, with \
                 its password; or, to begin anew with SQLite and give up the clusters there, delete \
                 them first and remove {}",
                note.display()
            )),
        };
    };
    if sqlite.exists() {
        return Err(format!(
            "{} holds the tables of this control plane already: unset {URL_VARIABLE}; or, to begin \
             anew with Postgres and give up the clusters there, delete them first and remove the \
             file",
            sqlite.display()
        ));
    }
    let at = without_password(url).map_err(|error| error.to_string())?;
    let before = noted(&note).await?;
    let database =
        PostgresDatabase::connect(url, Clock).await.map_err(|error| error.to_string())?;
    let alone = database.keep_others_out(shutdown.clone()).await;
    let alone = alone.map_err(|error| error.to_string())?;
    // Nothing is written before this, neither there nor here.
    let found = match database.contents().await.map_err(|error| error.to_string())? {
        Contents::Nothing => None,
        Contents::Weir(id) => Some(id),
        Contents::Foreign { table } => {
            return Err(format!(
                "{at} holds another program's tables ({table} is one): give Weir a database of \
                 its own, such as by CREATE DATABASE weir"
            ));
        }
    };
    // A first start that was cut off noted no id: then the address has to be the same.
    let known = before.filter(|before| before.id.is_some() || before.at == at);
    match (&known, found) {
        (Some(before), _) => before.admits(&at, found, &note)?,
        (None, Some(id)) if !take_over => {
            return Err(format!(
                "{at} (id {id}) is the database of a control plane with another data folder: \
                 start it there; or, if that folder is lost for good, take its database over \
                 with {TAKE_OVER_VARIABLE}=true. Data of clusters that lies there does not come \
                 along"
            ));
        }
        (None, _) => {}
    }
    let now = Note { at, id: found };
    put(&note, &now).await?;
    Ok(Opened { database: Arc::new(database), alone: Some(alone), note: Some((note, now)) })
}

/// Writes the note down.
pub(super) async fn put(file: &Path, note: &Note) -> Result<(), String> {
    let (path, shown) = (file.to_owned(), file.display().to_string());
    let text = match note.id {
        Some(id) => format!("{}\n{id}", note.at),
        None => note.at.clone(),
    };
    task::blocking(move || put_private(&path, &text))
        .await
        .map_err(|error| format!("cannot write {shown}: {error}"))
}

async fn noted(note: &Path) -> Result<Option<Note>, String> {
    let (file, shown) = (note.to_owned(), note.display().to_string());
    task::blocking(move || match fs::read_to_string(file) {
        Ok(text) => Note::parse(&text)
            .map(Some)
            .map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    })
    .await
    .map_err(|error| format!("cannot read {shown}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_forgotten_database_is_not_begun_anew() {
        let folder = tempfile::TempDir::new().unwrap();
        let shutdown = CancellationToken::new();
        let empty = SecretString::from(String::new());
        assert!(open(folder.path(), Some(&empty), false, &shutdown).await.is_ok());
        put_private(&folder.path().join(NOTE), "postgres://weir@db:5432/w").unwrap();
        let error = open(folder.path(), None, false, &shutdown).await.err().unwrap();
        assert!(error.contains("weir@db") && error.contains(URL_VARIABLE), "{error}");
    }

    const fn id(number: u128) -> DatabaseId {
        DatabaseId(uuid::Uuid::from_u128(number))
    }

    #[tokio::test]
    async fn a_note_is_read_as_it_was_written() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join(NOTE);
        let old = Note { at: "postgres://weir@db:5432/w".to_owned(), id: None };
        let new = old.clone().with(id(7));
        for note in [old, new] {
            put(&file, &note).await.unwrap();
            assert_eq!(noted(&file).await, Ok(Some(note)));
        }
        put_private(&file, "postgres://weir@db:5432/w\nx").unwrap();
        assert!(noted(&file).await.unwrap_err().contains("second line"));
    }

    #[test]
    fn another_database_is_not_begun_anew() {
        let (same, other) = (id(7), id(8));
        let file = Path::new("/d/database-url");
        let old = Note { at: "postgres://weir@db:5432/w".to_owned(), id: None };
        let new = old.clone().with(same);
        let alias = "postgres://weir@localhost:5432/w";
        assert_eq!(new.admits(alias, Some(same), file), Ok(()));
        for found in [None, Some(same), Some(other)] {
            assert_eq!(old.admits(alias, found, file), Ok(()), "an old note does not know");
        }
        for (found, word) in [(None, "empty"), (Some(other), &*other.to_string())] {
            let error = new.admits(alias, found, file).unwrap_err();
            for said in [word, alias, &new.at, URL_VARIABLE, "/d/database-url"] {
                assert!(error.contains(said), "{said} in {error}");
            }
        }
    }

    #[tokio::test]
    async fn a_folder_with_sqlite_does_not_change_to_postgres() {
        let folder = tempfile::TempDir::new().unwrap();
        fs::OpenOptions::new().create(true).append(true).open(folder.path().join(SQLITE)).unwrap();
        let url = SecretString::from("postgres://weir:s3cret@127.0.0.1:1/w".to_owned());
        let shutdown = CancellationToken::new();
        let error = open(folder.path(), Some(&url), false, &shutdown).await.err().unwrap();
        assert!(error.contains(SQLITE) && !error.contains("s3cret"), "{error}");
    }
}
