//! Between our values and Postgres's: parameters in, rows and errors out.

use std::sync::Arc;

use sqlx::{
    Column as _, Postgres, Row as _, TypeInfo as _, ValueRef as _,
    encode::{Encode, IsNull},
    error::{BoxDynError, DatabaseError},
    postgres::{PgArgumentBuffer, PgArguments, PgRow, PgTypeInfo, types::Oid},
    query::Query,
};

use super::super::{ConstraintKind, DbError, DbResult, Row, Value};

/// NULL of whatever type the statement wants there: the server finds out.
struct Untyped;

impl sqlx::Type<Postgres> for Untyped {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for Untyped {
    fn encode_by_ref(&self, _: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Ok(IsNull::Yes)
    }
}

/// The statement with its parameters. Postgres binds `$n` by number, which is its name.
pub(super) fn bound(
    sql: &'static str,
    params: Vec<Value>,
) -> DbResult<Query<'static, Postgres, PgArguments>> {
    let named = placeholders(sql);
    if named != (1..=params.len()).collect::<Vec<_>>() {
        return Err(DbError::Misuse {
            reason: format!("{} parameters given, the text has {named:?}", params.len()),
        });
    }
    let mut query = sqlx::query(sql);
    for value in params {
        value.check()?;
        query = match value {
            Value::Null => query.bind(Untyped),
            Value::Integer(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Blob(bytes) => query.bind(bytes),
        };
    }
    Ok(query)
}

/// The numbers of the `$n` outside of quotes, each once, sorted.
fn placeholders(sql: &str) -> Vec<usize> {
    let mut found = Vec::new();
    for plain in sql.split('\'').step_by(2) {
        for rest in plain.split('$').skip(1) {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            found.extend(rest[..digits].parse::<usize>());
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// What a query found.
pub(super) fn rows(found: &[PgRow]) -> DbResult<Vec<Row>> {
    let Some(first) = found.first() else { return Ok(Vec::new()) };
    let columns: Arc<[String]> =
        first.columns().iter().map(|column| column.name().to_owned()).collect();
    found
        .iter()
        .map(|row| {
            let values = (0..columns.len()).map(|index| taken(row, index));
            Ok(Row::new(Arc::clone(&columns), values.collect::<DbResult<_>>()?))
        })
        .collect()
}

fn taken(row: &PgRow, index: usize) -> DbResult<Value> {
    let raw = row.try_get_raw(index).map_err(typed)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info().name().to_owned();
    match kind.as_str() {
        "INT8" => row.try_get::<i64, _>(index).map(Value::Integer),
        "INT4" => row.try_get::<i32, _>(index).map(|number| Value::Integer(number.into())),
        "INT2" => row.try_get::<i16, _>(index).map(|number| Value::Integer(number.into())),
        "BOOL" => row.try_get::<bool, _>(index).map(|truth| Value::Integer(truth.into())),
        "TEXT" | "VARCHAR" | "NAME" => row.try_get::<String, _>(index).map(Value::Text),
        "BYTEA" => row.try_get::<Vec<u8>, _>(index).map(Value::Blob),
        _ => {
            let column = row.column(index).name();
            return Err(DbError::Misuse {
                reason: format!("column {column} is of type {kind}: CAST it to BIGINT or TEXT"),
            });
        }
    }
    .map_err(typed)
}

/// sqlx's errors in our words.
pub(super) fn typed(error: sqlx::Error) -> DbError {
    match error {
        sqlx::Error::Database(error) => said(&*error),
        sqlx::Error::PoolTimedOut => {
            DbError::Unavailable { reason: "no connection within the time".to_owned() }
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => {
            DbError::Unavailable { reason: error.to_string() }
        }
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            DbError::Io { reason: error.to_string() }
        }
        other => DbError::Misuse { reason: other.to_string() },
    }
}

/// What the server said, by SQLSTATE. Its detail is left out: it holds values.
fn said(error: &dyn DatabaseError) -> DbError {
    let reason = error.message().to_owned();
    let code = error.code().unwrap_or_default();
    let constraint = |kind| DbError::Constraint { kind, detail: reason.clone() };
    match &*code {
        "23505" => constraint(ConstraintKind::Unique),
        "23503" => constraint(ConstraintKind::ForeignKey),
        "23502" => constraint(ConstraintKind::NotNull),
        "23514" => constraint(ConstraintKind::Check),
        // Serialization, deadlock, a lock that was not to be had, a limit of time.
        "40001" | "40P01" | "55P03" | "57014" => DbError::Busy,
        "25P02" => DbError::Aborted,
        "53100" => DbError::StorageFull,
        "XX001" | "XX002" => DbError::Corrupt { reason },
        code if code.starts_with("23") => constraint(ConstraintKind::Other),
        // The server goes down, comes up, has no room for us, or has ended our session.
        "25P03" | "53300" => DbError::Unavailable { reason },
        code if code.starts_with("57P") || code.starts_with("08") => {
            DbError::Unavailable { reason }
        }
        code if code.starts_with("53") || code.starts_with("58") => DbError::Io { reason },
        "42501" => DbError::Misuse {
            reason: format!(
                "{reason} (SQLSTATE 42501): make the user of the database URL the owner of the \
                 database, or let it make tables with GRANT CREATE ON SCHEMA public TO that user"
            ),
        },
        code => DbError::Misuse { reason: format!("{reason} (SQLSTATE {code})") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_found_outside_of_quotes() {
        for (sql, expected) in [
            ("SELECT 1", vec![]),
            ("UPDATE t SET b = $2 WHERE a = $1 OR c = $2", vec![1, 2]),
            ("SELECT '$3', $1, 'it''s $4', $12", vec![1, 12]),
            ("SELECT $ FROM t", vec![]),
        ] {
            assert_eq!(placeholders(sql), expected, "{sql}");
        }
    }
}
