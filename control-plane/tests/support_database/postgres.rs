//! A Postgres database per test, named after the test's folder and dropped once that is gone.

use std::str::FromStr as _;

use secrecy::SecretString;
use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgDatabaseError},
};
use tempfile::TempDir;
use weir_control_plane::store::PostgresDatabase;
use weir_runtime::clock::Clock;

const VARIABLE: &str = "WEIR_TEST_POSTGRES_URL";
const PREFIX: &str = "weir_test_";

fn server() -> String {
    std::env::var(VARIABLE).expect("run this with infra/ci/postgres.sh, which sets the variable")
}

fn name(folder: &TempDir) -> String {
    let folder = folder.path().file_name().unwrap().to_str().unwrap();
    format!("{PREFIX}{folder}")
}

/// A connection to the database that the variable names, for looking from outside.
pub async fn administrator() -> PgConnection {
    let options = PgConnectOptions::from_str(&server()).unwrap();
    PgConnection::connect_with(&options).await.unwrap()
}

/// The URL of the test's database, which is made when missing.
pub async fn url(folder: &TempDir) -> SecretString {
    let mut administrator = administrator().await;
    drop_old(&mut administrator).await;
    let name = name(folder);
    let made = sqlx::raw_sql(AssertSqlSafe(format!(
        "CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8'"
    )))
    .execute(&mut administrator)
    .await;
    if let Err(error) = made {
        let error = error.into_database_error().unwrap();
        let code = error.downcast_ref::<PgDatabaseError>().code();
        // It is there already (the second way of saying so: somebody makes it just now).
        assert!(["42P04", "23505"].contains(&code), "{error}");
    }
    // The database is what stands between the last slash and the parameters.
    let server = server();
    let (before, parameters) = server.split_once('?').unwrap_or((&server, ""));
    let (before, _) = before.rsplit_once('/').unwrap();
    format!("{before}/{name}?{parameters}").into()
}

/// Opens the test's database.
pub async fn open(folder: &TempDir) -> PostgresDatabase {
    PostgresDatabase::connect(&url(folder).await, Clock).await.unwrap()
}

/// Drops the databases of tests that are over: their folders are gone.
async fn drop_old(administrator: &mut PgConnection) {
    let found = sqlx::query("SELECT datname::TEXT AS name FROM pg_database WHERE datname LIKE $1")
        .bind(format!("{PREFIX}%"))
        .fetch_all(&mut *administrator)
        .await
        .unwrap();
    for row in found {
        let name: String = row.get("name");
        let folder = std::env::temp_dir().join(name.strip_prefix(PREFIX).unwrap());
        if !folder.exists() {
            let text = format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)");
            // Another test may be at it.
            drop(sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *administrator).await);
        }
    }
}
