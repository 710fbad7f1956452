//! What every driver must do. The cases know only [`Database`]; a new driver is one more
//! list of tests at the end.

use std::sync::Arc;

use weir_control_plane::store::{
    Database, DbError, DbResult, FaultRates, Mode, SqlFaults, SqliteDatabase, Transaction, Value,
    driver::ConstraintKind,
};
use weir_runtime::{clock::Clock, task};

type Db = Arc<dyn Database>;

const INSERT: &str = "INSERT INTO t (a, b) VALUES ($1, $2)";
/// So many readers every driver serves at a time.
const READERS: usize = 4;
const COUNT: &str = "SELECT count(*) AS n FROM t";

async fn write(db: &Db) -> Box<dyn Transaction> {
    db.begin(Mode::Write).await.unwrap()
}

async fn table(db: &Db) {
    let mut tx = write(db).await;
    tx.execute("CREATE TABLE p (id TEXT NOT NULL PRIMARY KEY)", vec![]).await.unwrap();
    tx.execute(
        "CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY, b BIGINT CHECK (b >= 0),
            c TEXT REFERENCES p (id), d TEXT)",
        vec![],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

async fn count(tx: &mut Box<dyn Transaction>) -> i64 {
    tx.query(COUNT, vec![]).await.unwrap()[0].get("n").unwrap()
}

async fn count_now(db: &Db) -> i64 {
    count(&mut db.begin(Mode::Read).await.unwrap()).await
}

fn row(a: &str, b: i64) -> Vec<Value> {
    vec![a.into(), b.into()]
}

/// SQLite numbers `$n` by first appearance: bound by position this would update nothing.
async fn parameters_are_bound_by_name(db: Db) {
    table(&db).await;
    let mut tx = write(&db).await;
    tx.execute(INSERT, row("x", 1)).await.unwrap();
    let touched = tx.execute("UPDATE t SET b = $2 WHERE a = $1", row("x", 5)).await.unwrap();
    assert_eq!(touched, 1);
    let rows = tx
        .query("SELECT $2 AS second, $1 AS first, $2 AS again", vec!["one".into(), "two".into()])
        .await
        .unwrap();
    assert_eq!(rows[0].get::<String>("first").unwrap(), "one");
    assert_eq!(rows[0].get::<String>("second").unwrap(), "two");
    assert_eq!(rows[0].get::<String>("again").unwrap(), "two");
    tx.commit().await.unwrap();
}

async fn a_parameter_that_does_not_occur_is_refused(db: Db) {
    table(&db).await;
    for (sql, params) in [
        (COUNT, vec![Value::from(1_i64)]),
        ("SELECT * FROM t WHERE a = $1", vec![]),
        ("SELECT * FROM t WHERE a = $2", vec!["x".into()]),
    ] {
        let error = write(&db).await.query(sql, params).await.unwrap_err();
        assert!(matches!(error, DbError::Misuse { .. }), "{sql}: {error:?}");
    }
}

async fn values_come_back_as_they_went(db: Db) {
    let mut tx = write(&db).await;
    tx.execute("CREATE TABLE v (n BIGINT, s TEXT, z TEXT)", vec![]).await.unwrap();
    for number in [i64::MIN, -1, 0, 1, i64::MAX] {
        let sql = "INSERT INTO v (n, s, z) VALUES ($1, $2, $3) RETURNING n, s, z";
        let text = "ä 🦀 \" ' ; --";
        let rows = tx.query(sql, vec![number.into(), text.into(), Value::Null]).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].get::<i64>("n").unwrap(), number);
        assert_eq!(rows[0].get::<String>("s").unwrap(), text);
        assert_eq!(rows[0].get::<Option<String>>("z").unwrap(), None);
        for error in [
            rows[0].get::<String>("n").unwrap_err(),
            rows[0].get::<i64>("s").unwrap_err(),
            rows[0].get::<String>("z").unwrap_err(),
            rows[0].get::<String>("no such column").unwrap_err(),
        ] {
            assert!(matches!(error, DbError::Decode { .. }), "{error:?}");
        }
        if number < 0 {
            assert!(rows[0].get::<u64>("n").is_err());
        }
    }
    assert_eq!(Value::from(u64::MAX), Value::Integer(i64::MAX));
}

/// NULL has no type of its own.
async fn nothing_fits_every_column(db: Db) {
    table(&db).await;
    let mut tx = write(&db).await;
    let sql = "INSERT INTO t (a, b, d) VALUES ($1, $2, $3)";
    for (name, b) in [("x", Value::Null), ("y", Value::from(1_i64)), ("z", Value::Null)] {
        tx.execute(sql, vec![name.into(), b, Value::Null]).await.unwrap();
    }
    let sql = "SELECT count(*) AS n FROM t WHERE coalesce(b, -1) = $1 AND d IS NULL";
    let rows = tx.query(sql, vec![Value::from(-1_i64)]).await.unwrap();
    assert_eq!(rows[0].get::<i64>("n").unwrap(), 2);
}

async fn what_no_driver_takes_is_refused(db: Db) {
    table(&db).await;
    let error = write(&db).await.execute(INSERT, row("a\0b", 1)).await.unwrap_err();
    assert!(matches!(error, DbError::Misuse { .. }), "{error:?}");
}

async fn names_are_sorted_by_their_bytes(db: Db) {
    db.migrate().await.unwrap();
    let mut tx = write(&db).await;
    for name in ["b", "B", "a-b", "ab", "_", "a_c", "ä", "1"] {
        tx.execute(
            "INSERT INTO orgs (org_id, name, created_at_unix_ms) VALUES ($1, $1, 1)",
            vec![name.into()],
        )
        .await
        .unwrap();
    }
    let sql = "SELECT name FROM orgs WHERE name > $1 ORDER BY name";
    let rows = tx.query(sql, vec!["1".into()]).await.unwrap();
    let names: Vec<String> = rows.iter().map(|row| row.get("name").unwrap()).collect();
    assert_eq!(names, ["B", "_", "a-b", "a_c", "ab", "b", "ä"]);
}

async fn what_is_not_committed_is_rolled_back(db: Db) {
    table(&db).await;
    let mut tx = write(&db).await;
    tx.execute(INSERT, row("x", 1)).await.unwrap();
    drop(tx);
    assert_eq!(count_now(&db).await, 0);
    let mut tx = write(&db).await;
    tx.execute(INSERT, row("x", 1)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count_now(&db).await, 1);
}

async fn constraints_are_told_apart(db: Db) {
    table(&db).await;
    let mut tx = write(&db).await;
    tx.execute(INSERT, row("x", 1)).await.unwrap();
    tx.commit().await.unwrap();
    let with_c = "INSERT INTO t (a, c) VALUES ($1, $2)";
    for (sql, params, expected) in [
        (INSERT, row("x", 2), ConstraintKind::Unique),
        (INSERT, row("y", -1), ConstraintKind::Check),
        (INSERT, vec![Value::Null, 1_i64.into()], ConstraintKind::NotNull),
        (with_c, vec!["z".into(), "nobody".into()], ConstraintKind::ForeignKey),
    ] {
        let error = write(&db).await.execute(sql, params).await.unwrap_err();
        let DbError::Constraint { kind, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*kind, expected);
        assert_eq!(error.is_unique_violation(), expected == ConstraintKind::Unique);
        assert!(!error.retriable());
    }
}

async fn an_error_ends_the_transaction(db: Db) {
    table(&db).await;
    let mut tx = write(&db).await;
    tx.execute(INSERT, row("x", 1)).await.unwrap();
    tx.execute(INSERT, row("x", 1)).await.unwrap_err();
    assert_eq!(tx.execute(INSERT, row("y", 1)).await, Err(DbError::Aborted));
    assert_eq!(tx.commit().await, Err(DbError::Aborted));
    assert_eq!(count_now(&db).await, 0);
}

async fn a_reader_keeps_its_view(db: Db) {
    table(&db).await;
    let mut reader = db.begin(Mode::Read).await.unwrap();
    assert_eq!(count(&mut reader).await, 0);
    let mut tx = write(&db).await;
    tx.execute(INSERT, row("x", 1)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(&mut reader).await, 0);
    assert_eq!(count_now(&db).await, 1);
}

async fn a_reader_cannot_write(db: Db) {
    table(&db).await;
    let mut reader = db.begin(Mode::Read).await.unwrap();
    reader.execute(INSERT, row("x", 1)).await.unwrap_err();
    drop(reader);
    assert_eq!(count_now(&db).await, 0);
}

/// Each reads, then writes what it read plus one: lost updates would show.
async fn writers_take_turns(db: Db) {
    table(&db).await;
    let mut tx = write(&db).await;
    tx.execute(INSERT, row("counter", 0)).await.unwrap();
    tx.commit().await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let db = Arc::clone(&db);
            task::spawn(async move {
                for _ in 0..10 {
                    let mut tx = write(&db).await;
                    let rows = tx.query("SELECT b FROM t", vec![]).await.unwrap();
                    let now: i64 = rows[0].get("b").unwrap();
                    let sql = "UPDATE t SET b = $2 WHERE a = $1";
                    tx.execute(sql, row("counter", now + 1)).await.unwrap();
                    tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut tx = db.begin(Mode::Read).await.unwrap();
    let rows = tx.query("SELECT b FROM t", vec![]).await.unwrap();
    assert_eq!(rows[0].get::<i64>("b").unwrap(), 80);
}

/// Whoever is dropped in the middle of anything gives its turn back, rolled back.
async fn an_abandoned_writer_does_not_block(db: Db) {
    table(&db).await;
    for polls in 0..12 {
        let mut work = Box::pin(async {
            let mut tx = write(&db).await;
            tx.execute(INSERT, row("x", 1)).await.unwrap();
            tx.execute(INSERT, row("y", 1)).await.unwrap();
            std::future::pending::<()>().await;
        });
        for _ in 0..polls {
            let _ = futures::poll!(&mut work);
            tokio::task::yield_now().await;
        }
        drop(work);
        let mut tx = write(&db).await;
        assert_eq!(count(&mut tx).await, 0, "{polls} polls");
    }
}

async fn more_readers_than_connections_wait(db: Db) {
    table(&db).await;
    let mut first = Vec::new();
    for _ in 0..READERS {
        first.push(db.begin(Mode::Read).await.unwrap());
    }
    let waiting = {
        let db = Arc::clone(&db);
        task::spawn(async move { count_now(&db).await })
    };
    tokio::task::yield_now().await;
    drop(first);
    assert_eq!(waiting.await.unwrap(), 0);
}

macro_rules! over_every_driver {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $case() {
                    let folder = tempfile::tempdir().unwrap();
                    let db = crate::support::database::sqlite(&folder);
                    super::$case(std::sync::Arc::new(db)).await;
                }
            )*
        }
        // Needs a server: infra/ci/postgres.sh starts one.
        #[cfg(feature = "postgres-tests")]
        mod postgres {
            $(
                #[tokio::test]
                async fn $case() {
                    let folder = tempfile::tempdir().unwrap();
                    let db = crate::support::database::postgres::open(&folder).await;
                    super::$case(std::sync::Arc::new(db)).await;
                }
            )*
        }
    };
}

over_every_driver!(
    parameters_are_bound_by_name,
    a_parameter_that_does_not_occur_is_refused,
    values_come_back_as_they_went,
    nothing_fits_every_column,
    what_no_driver_takes_is_refused,
    names_are_sorted_by_their_bytes,
    what_is_not_committed_is_rolled_back,
    constraints_are_told_apart,
    an_error_ends_the_transaction,
    a_reader_keeps_its_view,
    a_reader_cannot_write,
    writers_take_turns,
    an_abandoned_writer_does_not_block,
    more_readers_than_connections_wait,
);

#[tokio::test]
async fn faults_fire_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let faults = SqlFaults::default();
    let path = folder.path().join("f.db");
    let db: Db = Arc::new(SqliteDatabase::with_faults(&path, Clock, faults.clone()));
    table(&db).await;
    assert_eq!(faults.fired(), 0);
    faults.set(FaultRates { busy_per_million: 1_000_000, ..FaultRates::default() });
    assert_eq!(db.begin(Mode::Write).await.err(), Some(DbError::Busy));
    faults.set(FaultRates { commit_unknown_per_million: 1_000_000, ..FaultRates::default() });
    for number in 0..64_i64 {
        let mut tx = write(&db).await;
        tx.execute(INSERT, row(&number.to_string(), number)).await.unwrap();
        let lost: DbResult<()> = tx.commit().await;
        assert!(matches!(lost, Err(DbError::CommitUnknown { .. })), "{lost:?}");
    }
    faults.set(FaultRates::default());
    assert_eq!(faults.fired(), 65);
    // Some happened, some did not: that is what unknown means.
    assert!((1..64).contains(&count_now(&db).await));
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "SQLite's file is not on the disk seam")]
async fn a_file_that_is_no_database_is_said_to_be_damaged() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("control-plane.db"), "not a database, ".repeat(512)).unwrap();
    let error = crate::support::database::sqlite(&folder).begin(Mode::Read).await.err().unwrap();
    assert!(matches!(error, DbError::Corrupt { .. }), "{error:?}");
}
