//! The first connection: waits for a server that is not there yet, and says in words what
//! else is wrong. No message holds the password.

use std::{str::FromStr as _, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{
    ConnectOptions as _, Connection as _, Row as _,
    postgres::{PgConnectOptions, PgConnection},
};
use weir_runtime::clock::Clock;

use super::{DbError, DbResult, values::typed};

/// How long the server may stay away at the start.
const START_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long one try may take.
const TRY_WAIT_MAX: Duration = Duration::from_secs(5);
/// Pause after the first failed try; doubles up to the largest.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Prepared statements kept per connection; about as many as the store has texts.
const STATEMENTS_MAX: usize = 256;

/// Why a Postgres database cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// It is no URL of a Postgres database.
    #[error(
        "the database URL cannot be understood ({reason}): it looks like \
         postgres://USER:PASSWORD@HOST:5432/DATABASE"
    )]
    Url {
        /// What is wrong with it, without it.
        reason: String,
    },
    /// There is no server, or it does not answer.
    #[error(
        "the database server of {at} cannot be reached ({reason}): start it, or correct the \
         database URL"
    )]
    Unreachable {
        /// The database, without password.
        at: String,
        /// What the last try said.
        reason: String,
    },
    /// The server does not let this user in.
    #[error("the server refuses the user or password of {at} ({reason}): correct the database URL")]
    Refused {
        /// The database, without password.
        at: String,
        /// What the server said.
        reason: String,
    },
    /// The server has no such database.
    #[error(
        "there is no database {name:?} at the server of {at}: make it with CREATE DATABASE {name}"
    )]
    Missing {
        /// The database, without password.
        at: String,
        /// Its name.
        name: String,
    },
    /// The database is there and is of no use.
    #[error("{at} cannot be used: {reason}")]
    Unfit {
        /// The database, without password.
        at: String,
        /// Why, and what would be right.
        reason: String,
    },
}

/// Looks whether the database at `url` can be used; answers how to connect to it.
pub(super) async fn connect(
    url: &SecretString,
    clock: Clock,
) -> Result<PgConnectOptions, ConnectError> {
    let options = parse(url)?;
    let at = shown(&options);
    let begin = clock.now();
    let mut pause = PAUSE_FIRST;
    loop {
        let tried = match clock.timeout(TRY_WAIT_MAX, look(&options)).await {
            Ok(tried) => tried,
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        };
        let reason = match tried {
            Ok(None) => return Ok(options),
            Ok(Some(reason)) => return Err(ConnectError::Unfit { at, reason }),
            Err(error) => match hopeless(&error, &options) {
                Some(error) => return Err(error),
                None => said(&error),
            },
        };
        if clock.now().since(begin) + pause > START_WAIT_MAX {
            return Err(ConnectError::Unreachable { at, reason });
        }
        tracing::warn!(database = at, reason, "waiting for the database server");
        clock.sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// One more connection, outside of any pool.
pub(super) async fn once(options: &PgConnectOptions, clock: Clock) -> DbResult<PgConnection> {
    clock
        .timeout(TRY_WAIT_MAX, PgConnection::connect_with(options))
        .await
        .map_err(|_| DbError::Unavailable { reason: "the server does not answer".to_owned() })?
        .map_err(typed)
}

/// The database's URL as it may be shown: without password and parameters.
///
/// # Errors
/// [`ConnectError::Url`].
pub fn without_password(url: &SecretString) -> Result<String, ConnectError> {
    parse(url).map(|options| shown(&options))
}

fn parse(url: &SecretString) -> Result<PgConnectOptions, ConnectError> {
    let text = url.expose_secret();
    if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
        return Err(ConnectError::Url { reason: "it does not begin with postgres://".to_owned() });
    }
    let options = PgConnectOptions::from_str(text).map_err(|error| ConnectError::Url {
        reason: match error {
            sqlx::Error::Configuration(error) => error.to_string(),
            _ => "it is malformed".to_owned(),
        },
    })?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(ConnectError::Url { reason: "it names no database".to_owned() });
    }
    Ok(options
        .application_name("weir-control-plane")
        .statement_cache_capacity(STATEMENTS_MAX)
        // A writer that waits for its turn is no slow statement.
        .disable_statement_logging())
}

pub(super) fn shown(options: &PgConnectOptions) -> String {
    let host = options.get_socket().map_or_else(
        || format!("{}:{}", options.get_host(), options.get_port()),
        |socket| format!("[{}]", socket.display()),
    );
    let database = options.get_database().unwrap_or_default();
    format!("postgres://{}@{host}/{database}", options.get_username())
}

/// `None` when it is fit, else why not.
async fn look(options: &PgConnectOptions) -> Result<Option<String>, sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    let row = sqlx::query(
        "SELECT current_setting('server_version_num')::BIGINT AS version,
            current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS standby",
    )
    .fetch_one(&mut connection)
    .await?;
    let (version, encoding, standby): (i64, String, bool) =
        (row.try_get("version")?, row.try_get("encoding")?, row.try_get("standby")?);
    connection.close().await?;
    Ok(unfit(version, &encoding, standby))
}

/// Pure.
fn unfit(version: i64, encoding: &str, standby: bool) -> Option<String> {
    /// The oldest one that its makers still mended when this was written.
    const VERSION_MIN: i64 = 13;
    if standby {
        return Some("the server is a standby that only reads: name the primary".to_owned());
    }
    if encoding != "UTF8" {
        return Some(format!(
            "its encoding is {encoding}: make one with ENCODING 'UTF8' TEMPLATE template0"
        ));
    }
    let major = version / 10_000;
    (major < VERSION_MIN)
        .then(|| format!("the server is Postgres {major}: {VERSION_MIN} or newer is needed"))
}

/// What waiting does not mend.
fn hopeless(error: &sqlx::Error, options: &PgConnectOptions) -> Option<ConnectError> {
    let at = shown(options);
    let reason = said(error);
    match error {
        sqlx::Error::Database(database) => match database.code().as_deref() {
            Some("3D000") => {
                let name = options.get_database().unwrap_or_default().to_owned();
                Some(ConnectError::Missing { at, name })
            }
            Some(code) if code.starts_with("28") => Some(ConnectError::Refused { at, reason }),
            // Full, going down, coming up.
            Some(code) if code.starts_with("53") || code.starts_with("57") => None,
            _ => Some(ConnectError::Unfit { at, reason }),
        },
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => None,
        _ => Some(ConnectError::Unfit { at, reason }),
    }
}

fn said(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        sqlx::Error::PoolTimedOut => "it does not answer".to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_their_password() {
        for (url, expected) in [
            ("postgres://weir:s3cret@db.example:6543/w?sslmode=require", "weir@db.example:6543/w"),
            ("postgresql://weir:s3cret@localhost/w", "weir@localhost:5432/w"),
            ("postgres://weir:s3cret@localhost/w?host=/run/pg", "weir@[/run/pg]/w"),
        ] {
            let shown = without_password(&url.to_owned().into()).unwrap();
            assert_eq!(shown, format!("postgres://{expected}"));
        }
        for url in ["", "sqlite:x", "mysql://u:s3cret@h/d", "postgres://u:s3cret@h:x/d"] {
            let error = without_password(&url.to_owned().into()).unwrap_err().to_string();
            assert!(error.contains("postgres://USER"), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn what_is_of_no_use_is_said() {
        assert_eq!(unfit(150_004, "UTF8", false), None);
        assert!(unfit(150_004, "UTF8", true).unwrap().contains("primary"));
        assert!(unfit(150_004, "SQL_ASCII", false).unwrap().contains("UTF8"));
        assert!(unfit(90_600, "UTF8", false).unwrap().contains("13 or newer"));
    }
}
