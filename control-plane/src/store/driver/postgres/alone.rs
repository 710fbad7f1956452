//! One control plane at a time over one Postgres database. What SPUs last said is held in
//! the memory of the control plane that they speak with, and two would start every SPU twice.
//! A second one waits for the first to end, then gives up.
//!
//! The lock is one of a session of the server. Where that is lost (the server ends it or
//! starts anew, or the network breaks) the server gives the lock to whoever asks first, and
//! nobody can tell the one that had it: should another take it, the two run beside each other
//! until the first finds out, which takes it some [`LOOK_EVERY`] and [`ANSWER_WAIT_MAX`] to
//! see the loss, and up to [`WAIT_MAX`] to see that it is another who has it. Each
//! transaction of either is whole; what both decide in that time may be done twice.

use std::time::Duration;

use sqlx::{PgConnection, postgres::PgConnectOptions};
use weir_runtime::{
    clock::Clock,
    task::{self, CancellationToken, DropGuard},
};

use super::{DbError, DbResult, PostgresDatabase, connect, values::typed};

/// "weiralon" in ASCII. A lock of the session: it ends with the connection, however that ends.
const TRY_LOCK: &str = "SELECT pg_try_advisory_lock(8603398603142885230)";
/// How long another one may take to end, or the server to let go of a session that was lost.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// How often the session is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long an answer may take.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);
/// Has the server let go of a session whose other end is silent for some 11 seconds, which is
/// within [`WAIT_MAX`]. A session over a Unix socket has no need of it, and takes it.
const LET_GO: &str = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2;
    SET tcp_keepalives_count = 3; SET tcp_user_timeout = 10000";

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

/// Has the database for its process; dropped, others may have it.
#[must_use = "others may have the database once this is dropped"]
#[derive(Debug)]
pub struct Alone {
    _held: DropGuard,
}

impl PostgresDatabase {
    /// Takes the database for this process. Should its session be lost and another control
    /// plane have taken the database meanwhile, `shutdown` is cancelled.
    ///
    /// # Errors
    /// [`AloneError::Taken`] after a while, and as the database.
    pub async fn keep_others_out(&self, shutdown: CancellationToken) -> Result<Alone, AloneError> {
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
        let released = CancellationToken::new();
        drop(task::spawn(keep(session, options, clock, shutdown, released.clone())));
        Ok(Alone { _held: released.drop_guard() })
    }
}

/// A session that holds the lock; `None` while another one does.
async fn take(options: &PgConnectOptions, clock: Clock) -> DbResult<Option<PgConnection>> {
    let mut session = connect::once(options, clock).await?;
    let taken = async {
        sqlx::raw_sql(LET_GO).execute(&mut session).await?;
        sqlx::query_scalar::<_, bool>(TRY_LOCK).fetch_one(&mut session).await
    };
    let taken = clock.timeout(ANSWER_WAIT_MAX, taken).await;
    let taken = taken.map_err(|_| DbError::Busy)?.map_err(typed)?;
    Ok(taken.then_some(session))
}

async fn keep(
    session: PgConnection,
    options: PgConnectOptions,
    clock: Clock,
    shutdown: CancellationToken,
    released: CancellationToken,
) {
    let mut session = Some(session);
    let mut lost = clock.now();
    while clock.timeout(LOOK_EVERY, released.cancelled()).await.is_err() {
        if let Some(held) = &mut session {
            let look = sqlx::query("SELECT 1").execute(held);
            if matches!(clock.timeout(ANSWER_WAIT_MAX, look).await, Ok(Ok(_))) {
                continue;
            }
            tracing::warn!("the session that keeps other control planes out was lost");
            // Before another one asks for the lock: it may hold it still.
            session = None;
            lost = clock.now();
        }
        match take(&options, clock).await {
            Ok(Some(again)) => {
                tracing::info!("other control planes are kept out again");
                session = Some(again);
            }
            // By the lost session, until the server lets go of it.
            Ok(None) if clock.now().since(lost) <= WAIT_MAX => {}
            Ok(None) => {
                tracing::error!("another control plane took the database: this one ends");
                shutdown.cancel();
                return;
            }
            Err(error) => tracing::warn!(%error, "the database is away"),
        }
    }
}
