//! `weir cluster status --watch`: a cluster looked at again and again.

use std::time::Duration;

use weir_client::{
    Admin,
    admin::{Cluster, Operation},
};

use super::status;
use crate::{
    context::Context,
    error::{self, CliError, Result},
    home::{
        profiles::{HOME_KEY, Profiles},
        target::Place,
    },
    local::endpoint::{self, State},
    out::{self, Format},
    signal,
};

/// More often than this it is not looked.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// How long one look may take: then the control plane counts as away, and it is looked again.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// What one look came to.
enum Look {
    /// It is so.
    Seen(Box<Seen>),
    /// There is no such cluster.
    Gone,
    /// Nobody could be asked.
    Away(CliError),
}

/// A cluster, and what else is told of it.
#[derive(PartialEq, Eq)]
struct Seen {
    cluster: Cluster,
    operation: Option<Operation>,
    url: String,
}

/// Shows it until Ctrl-C comes, or it is gone. A control plane that is away for a while is
/// waited for.
///
/// # Errors
/// When it cannot be looked at even once, or standard output cannot be written.
pub async fn run(context: &Context, name: &str, every: Duration, format: Format) -> Result<()> {
    if every < INTERVAL_MIN {
        return Err(CliError::usage(
            format!("{} is too often", error::duration(every)),
            format!("look at most every {}", error::duration(INTERVAL_MIN)),
        ));
    }
    let mut shown = Shown::new(context, format);
    let interrupted = signal::interrupted();
    tokio::pin!(interrupted);
    loop {
        let look = tokio::select! {
            biased;
            () = &mut interrupted => return Ok(()),
            look = look(context, name) => look,
        };
        match look {
            Look::Seen(seen) => shown.seen(*seen)?,
            Look::Away(error) if shown.last.is_none() => return Err(error),
            Look::Away(error) => shown.away(&error)?,
            Look::Gone if shown.last.is_none() => {
                return Err(super::unknown_cluster(&admin(context)?.0, name).await);
            }
            Look::Gone => {
                context.ui.note(&format!("cluster {name} is gone"));
                return Ok(());
            }
        }
        tokio::select! {
            biased;
            () = &mut interrupted => return Ok(()),
            () = context.clock.sleep(every) => {}
        }
    }
}

/// Whom to ask, and where that is. Looked up each time: it may come back elsewhere.
fn admin(context: &Context) -> Result<(Admin, String)> {
    if let Place::Remote(remote) = context.place()? {
        let key = crate::home::keys::load(&remote.key_path(&context.home))?;
        return Ok((context.admin_quietly(&remote.url, key, LOOK_TIMEOUT), remote.url));
    }
    match endpoint::look(&context.home)? {
        State::Running(endpoint) => {
            let url = endpoint.url();
            Ok((context.admin_quietly(&url, endpoint::key(&context.home)?, LOOK_TIMEOUT), url))
        }
        state => Err(context.not_running(&state)),
    }
}

async fn look(context: &Context, name: &str) -> Look {
    let (admin, url) = match admin(context) {
        Ok(found) => found,
        Err(_) if forgotten(context, name) => return Look::Gone,
        Err(error) => return Look::Away(error),
    };
    match admin.cluster(name).await {
        Ok(cluster) => {
            let operation = status::operation_of(&admin, &cluster).await;
            Look::Seen(Box::new(Seen { cluster, operation, url }))
        }
        Err(error) if error.status() == Some(404) => Look::Gone,
        Err(error) => Look::Away(error.into()),
    }
}

/// Whether the last cluster of the home was deleted, and with it the control plane has ended.
fn forgotten(context: &Context, name: &str) -> bool {
    let stopped = matches!(endpoint::look(&context.home), Ok(State::Stopped(_)));
    stopped && Profiles::load(&context.home).is_ok_and(|p| p.name_of(name, HOME_KEY).is_none())
}

/// What was shown so far.
struct Shown<'a> {
    context: &'a Context,
    format: Format,
    /// Whether it is shown in the same place again.
    redraws: bool,
    last: Option<Seen>,
    /// Why nobody can be asked, while that is so.
    away: Option<String>,
}

impl<'a> Shown<'a> {
    fn new(context: &'a Context, format: Format) -> Self {
        let redraws = format == Format::Table && out::terminal();
        Self { context, format, redraws, last: None, away: None }
    }

    fn seen(&mut self, seen: Seen) -> Result<()> {
        let back = self.away.take().is_some();
        if back && !self.redraws {
            self.context.ui.note("the control plane answers again");
        }
        if self.last.as_ref() == Some(&seen) && !back {
            return Ok(());
        }
        let news = self.last.as_ref() != Some(&seen);
        let first = self.last.is_none();
        let seen = self.last.insert(seen);
        let told = || status::describe(&seen.cluster, seen.operation.as_ref(), &seen.url);
        match (self.redraws, self.format) {
            (true, _) => out::redraw(&told()),
            _ if !news => Ok(()),
            // Blocks of lines are parted by an empty one.
            (_, Format::Table) if !first => out::line(&format!("\n{}", told())),
            (_, format) => out::print_one(format, &seen.cluster, told),
        }
    }

    fn away(&mut self, error: &CliError) -> Result<()> {
        let why = error.to_string();
        if self.away.as_ref() == Some(&why) {
            return Ok(());
        }
        if self.redraws {
            let seen = self.last.as_ref();
            let told = seen.map(|s| status::describe(&s.cluster, s.operation.as_ref(), &s.url));
            out::redraw(&format!(
                "{}\n\nthis is how it was seen last; looking again: {why}",
                told.unwrap_or_default()
            ))?;
        } else if self.away.is_none() {
            self.context.ui.warn(&format!("{why}; looking again until it answers"));
        }
        self.away = Some(why);
        Ok(())
    }
}
