//! Migrations: run once, never changed, never run backwards; in sqlx's own terms.

use weir_control_plane::store::{
    Database, DbError, Mode, Value,
    migrate::{MigrateError, POSTGRES, SQLITE},
};

use crate::support::database::{is_postgres, open, sqlite};

/// The migrations of the database that the tests run on.
fn known() -> &'static sqlx::migrate::Migrator {
    if is_postgres() { &POSTGRES } else { &SQLITE }
}

fn all() -> u32 {
    u32::try_from(known().iter().count()).unwrap()
}

async fn alter(db: &dyn Database, sql: &'static str, params: Vec<Value>) {
    let mut tx = db.begin(Mode::Write).await.unwrap();
    assert_eq!(tx.execute(sql, params).await.unwrap(), 1);
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_fresh_database_is_built_once() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    assert_eq!(db.migrate().await, Ok(all()));
    assert_eq!(db.migrate().await, Ok(0));
    drop(db);
    // Another process, later.
    assert_eq!(open(&folder).await.migrate().await, Ok(0));
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "SQLite's file is not on the disk seam")]
async fn the_file_is_its_owner_s_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let db = sqlite(&folder);
    db.migrate().await.unwrap();
    let held = db.begin(Mode::Write).await.unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        seen += 1;
    }
    assert_eq!(seen, 3, "the database, its log, its index");
    drop(held);
}

#[tokio::test]
async fn the_table_is_the_one_that_sqlx_reads() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    db.migrate().await.unwrap();
    let mut tx = db.begin(Mode::Read).await.unwrap();
    let rows = tx
        .query(
            "SELECT version, description, success, checksum, execution_time
             FROM _sqlx_migrations ORDER BY version",
            vec![],
        )
        .await
        .unwrap();
    for (row, migration) in rows.iter().zip(known().iter()) {
        assert_eq!(row.get::<i64>("version").unwrap(), migration.version);
        assert_eq!(row.get::<String>("description").unwrap(), migration.description);
        assert!(row.get::<bool>("success").unwrap());
        // As sqlx computes it from the file.
        let again = sqlx::migrate::Migration::new(
            migration.version,
            migration.description.clone(),
            migration.migration_type,
            migration.sql.clone(),
            migration.no_tx,
        );
        assert_eq!(row.get::<Vec<u8>>("checksum").unwrap(), again.checksum.to_vec());
    }
    assert_eq!(rows.len(), known().iter().count());
}

#[tokio::test]
async fn a_changed_migration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    db.migrate().await.unwrap();
    alter(
        &*db,
        "UPDATE _sqlx_migrations SET checksum = $1 WHERE version = 1",
        vec![Value::Blob(vec![1, 2, 3])],
    )
    .await;
    let error = db.migrate().await.unwrap_err();
    assert_eq!(error, MigrateError::Changed { version: 1 });
    assert!(error.to_string().contains("migration 1"), "{error}");
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    db.migrate().await.unwrap();
    alter(
        &*db,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (99, 'of tomorrow', TRUE, $1, -1)",
        vec![Value::Blob(vec![])],
    )
    .await;
    let error = db.migrate().await.unwrap_err();
    assert!(matches!(error, MigrateError::Newer { found: 99, .. }), "{error:?}");
    assert!(error.to_string().contains("version 99"), "{error}");
}

#[tokio::test]
async fn a_migration_that_stopped_half_way_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder).await;
    db.migrate().await.unwrap();
    alter(&*db, "UPDATE _sqlx_migrations SET success = FALSE WHERE version = 1", vec![]).await;
    assert_eq!(db.migrate().await, Err(MigrateError::Dirty { version: 1 }));
}

#[tokio::test]
async fn two_at_once_do_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (open(&folder).await, open(&folder).await);
    let (one, two) = tokio::join!(one.migrate(), two.migrate());
    let retriable = |error: &MigrateError| matches!(error, MigrateError::Database(DbError::Busy));
    let applied: u32 = [&one, &two].iter().filter_map(|result| result.as_ref().ok()).sum();
    // One that finds the other at it may have applied some before. SQLite's second may be told
    // to try again, Postgres's waits.
    let in_full = one.is_ok() && two.is_ok();
    assert!(if in_full { applied == all() } else { applied <= all() }, "{one:?} {two:?}");
    assert!([one, two].iter().filter_map(|result| result.as_ref().err()).all(retriable));
}

/// In Postgres text is compared and sorted by its bytes, as SQLite has it: whoever pages by
/// name sees one order. Nothing else differs.
#[test]
fn both_databases_get_the_same_tables() {
    assert_eq!(SQLITE.iter().count(), POSTGRES.iter().count());
    for (sqlite, postgres) in SQLITE.iter().zip(POSTGRES.iter()) {
        let version = sqlite.version;
        assert_eq!(version, postgres.version);
        let (sqlite, postgres) = (sqlite.sql.as_str(), postgres.sql.as_str());
        let code = |sql: &str| {
            let lines = sql.lines().filter(|line| !line.trim_start().starts_with("--"));
            lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
        };
        let (sqlite, postgres) = (code(sqlite), code(postgres));
        let wanted = sqlite.replace(" TEXT", " TEXT COLLATE \"C\"");
        assert_eq!(wanted, postgres, "write TEXT COLLATE \"C\" in migration {version}");
    }
}

/// What makes a statement mean different things in the two databases, or on two days.
#[test]
fn the_sql_stays_portable() {
    let lower = SQLITE.iter().map(|m| m.sql.as_str().to_lowercase()).collect::<String>();
    let code = lower.lines().filter(|line| !line.trim_start().starts_with("--"));
    for line in code {
        for word in ["random", "current_timestamp", "autoincrement", "datetime", "rowid", "serial"]
        {
            assert!(!line.contains(word), "{word}: {line}");
        }
    }
}
