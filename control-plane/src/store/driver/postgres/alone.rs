//! One control plane at a time over one Postgres database. What SPUs last said is held in
//! the memory of the control plane that they speak with, and two would start every SPU twice.
//! A second one waits for the first to end, then gives up; it never runs beside it.

use std::time::Duration;

use sqlx::{PgConnection, postgres::PgConnectOptions};
use weir_runtime::{
    clock::Clock,
    task::{self, CancellationToken},
};

use super::{DbError, DbResult, PostgresDatabase, connect, values::typed};

/// "weiralon" in ASCII. A lock of the session: it ends with the connection, however that ends.
const TRY_LOCK: &str = "SELECT pg_try_advisory_lock(8603398603142885230)";
/// How long another one may take to end.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// How often the session is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long an answer may take.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// Why a control plane cannot have the database for itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AloneError {
    /// Another one has it.
    #[error("another control plane runs on {at}: stop it first, or use another database")]
    Taken {
        /// The database, without password.
        at: String,
    },
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DbError),
}

impl PostgresDatabase {
    /// Takes the database for this process. Should its session be lost and another control
    /// plane have taken the database meanwhile, `shutdown` is cancelled.
    ///
    /// # Errors
    /// [`AloneError::Taken`] after a while, and as the database.
    pub async fn keep_others_out(&self, shutdown: CancellationToken) -> Result<(), AloneError> {
        let (options, clock) = (self.options.clone(), self.clock);
        let begin = clock.now();
        let session = loop {
            match take(&options, clock).await? {
                Some(session) => break session,
                None if clock.now().since(begin) > WAIT_MAX => {
                    return Err(AloneError::Taken { at: connect::shown(&options) });
                }
                None => clock.sleep(LOOK_EVERY / 4).await,
            }
        };
        drop(task::spawn(keep(session, options, clock, shutdown)));
        Ok(())
    }
}

/// A session that holds the lock; `None` while another one does.
async fn take(options: &PgConnectOptions, clock: Clock) -> DbResult<Option<PgConnection>> {
    let mut session = connect::once(options, clock).await?;
    let taken = sqlx::query_scalar::<_, bool>(TRY_LOCK).fetch_one(&mut session);
    let taken = clock.timeout(ANSWER_WAIT_MAX, taken).await;
    let taken = taken.map_err(|_| DbError::Busy)?.map_err(typed)?;
    Ok(taken.then_some(session))
}

async fn keep(
    mut session: PgConnection,
    options: PgConnectOptions,
    clock: Clock,
    shutdown: CancellationToken,
) {
    let mut held = true;
    while clock.timeout(LOOK_EVERY, shutdown.cancelled()).await.is_err() {
        if held {
            let look = sqlx::query("SELECT 1").execute(&mut session);
            held = matches!(clock.timeout(ANSWER_WAIT_MAX, look).await, Ok(Ok(_)));
            if held {
                continue;
            }
            tracing::warn!("the session that keeps other control planes out was lost");
        }
        match take(&options, clock).await {
            Ok(Some(again)) => (session, held) = (again, true),
            Ok(None) => {
                tracing::error!("another control plane took the database: this one ends");
                shutdown.cancel();
            }
            Err(error) => tracing::warn!(%error, "the database is away"),
        }
    }
}
