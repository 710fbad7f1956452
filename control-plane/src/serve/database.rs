//! Which database a control plane keeps its tables in: SQLite in its data folder, or a
//! Postgres server. The folder notes which server, so that a start that forgot it does not
//! begin anew with an empty SQLite beside clusters that run.

use std::{fs, io, path::Path, sync::Arc};

use secrecy::{ExposeSecret as _, SecretString};
use weir_runtime::{
    clock::Clock,
    task::{self, CancellationToken},
};

use super::put_private;
use crate::store::{Alone, Database, PostgresDatabase, SqliteDatabase, without_password};

/// The variable that names a Postgres database.
pub const URL_VARIABLE: &str = "WEIR_DATABASE_URL";
/// The SQLite database, in the data folder.
pub(super) const SQLITE: &str = "weir.db";
/// In the data folder: the Postgres database, without password.
const NOTE: &str = "database-url";

/// Opens it. `shutdown` is cancelled when another control plane took the Postgres database;
/// none may, as long as what comes with it is kept.
///
/// # Errors
/// A sentence for people.
pub(super) async fn open(
    data_dir: &Path,
    url: Option<&SecretString>,
    shutdown: &CancellationToken,
) -> Result<(Arc<dyn Database>, Option<Alone>), String> {
    let (sqlite, note) = (data_dir.join(SQLITE), data_dir.join(NOTE));
    let Some(url) = url.filter(|url| !url.expose_secret().is_empty()) else {
        return match noted(&note).await? {
            None => Ok((Arc::new(SqliteDatabase::new(&sqlite, Clock)), None)),
            Some(at) => Err(format!(
                "the tables of this control plane are in {at}: set {URL_VARIABLE} to it, with \
                 its password; or remove {} to begin anew with SQLite",
                note.display()
            )),
        };
    };
    if sqlite.exists() {
        return Err(format!(
            "{} holds the tables of this control plane already: unset {URL_VARIABLE}, or move \
             the file away to begin anew with Postgres",
            sqlite.display()
        ));
    }
    let at = without_password(url).map_err(|error| error.to_string())?;
    let database =
        PostgresDatabase::connect(url, Clock).await.map_err(|error| error.to_string())?;
    let alone = database.keep_others_out(shutdown.clone()).await;
    let alone = alone.map_err(|error| error.to_string())?;
    let shown = note.display().to_string();
    task::blocking(move || put_private(&note, &at))
        .await
        .map_err(|error| format!("cannot write {shown}: {error}"))?;
    Ok((Arc::new(database), Some(alone)))
}

async fn noted(note: &Path) -> Result<Option<String>, String> {
    let (file, shown) = (note.to_owned(), note.display().to_string());
    task::blocking(move || match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
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
        assert!(open(folder.path(), Some(&empty), &shutdown).await.is_ok());
        put_private(&folder.path().join(NOTE), "postgres://weir@db:5432/w").unwrap();
        let error = open(folder.path(), None, &shutdown).await.err().unwrap();
        assert!(error.contains("weir@db") && error.contains(URL_VARIABLE), "{error}");
    }

    #[tokio::test]
    async fn a_folder_with_sqlite_does_not_change_to_postgres() {
        let folder = tempfile::TempDir::new().unwrap();
        fs::OpenOptions::new().create(true).append(true).open(folder.path().join(SQLITE)).unwrap();
        let url = SecretString::from("postgres://weir:s3cret@127.0.0.1:1/w".to_owned());
        let error = open(folder.path(), Some(&url), &CancellationToken::new()).await.err().unwrap();
        assert!(error.contains(SQLITE) && !error.contains("s3cret"), "{error}");
    }
}
