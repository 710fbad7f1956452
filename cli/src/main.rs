//! `weir`: the command line of Weir, which can also run both servers, so that one binary is
//! a whole cluster.
//!
//! | Module | Holds |
//! |---|---|
//! | [`args`] | the command line |
//! | [`cmd`] | the commands, one verb or noun per file |
//! | [`produce`], [`consume`], [`quickstart`] | what these commands are made of |
//! | [`connect`] | from the profile to a connected client |
//! | [`home`] | `WEIR_HOME`: profiles, keys, tokens, the lock |
//! | [`remote`] | control planes that are not this home's: their URL, the key for them |
//! | [`local`] | the home's control plane: where it is, start, stop; waiting for clusters |
//! | [`trace`] | one trace per command |
//! | [`moment`] | points in time on the command line |
//! | [`out`], [`ui`], [`error`] | standard output, standard error, exit codes |
//!
//! Servers are talked to through `weir_client` only; `weir run` runs them.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![allow(
    clippy::disallowed_methods,
    reason = "the command line is never simulated: its files and processes are the machine's"
)]

mod args;
mod cmd;
mod connect;
mod consume;
mod context;
mod error;
mod home;
mod local;
mod moment;
mod out;
mod produce;
mod prompt;
mod quickstart;
mod remote;
mod signal;
mod suggest;
mod trace;
mod ui;

use std::{ffi::OsString, io::Write as _, process::ExitCode};

use clap::{CommandFactory as _, Parser as _};
use tracing::Instrument as _;
use weir_runtime::telemetry;

use crate::{
    args::{Cli, Command},
    context::Context,
    error::{CliError, Exit},
    ui::Ui,
};

// Producing and appending move large buffers. With glibc's allocator each of them is mapped
// and unmapped again: page faults were the largest single cost of a measured produce and
// append run. mimalloc keeps such buffers, and needs no more than a C compiler to build.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tell_panics();
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(refuse(&error) as u8),
    };
    let ui = Ui::new(cli.global.quiet, cli.global.no_color);
    let exit = match execute(cli, ui) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            ui.error(&error);
            error.exit()
        }
    };
    ExitCode::from(exit as u8)
}

fn parse() -> Result<Cli, clap::Error> {
    let line: Vec<OsString> = std::env::args_os().collect();
    match cmd::run::spu_line(&line) {
        Some(spu) => Ok(Cli::spu(spu?)),
        None => Cli::try_parse_from(line),
    }
}

fn execute(mut cli: Cli, ui: Ui) -> error::Result<()> {
    cli.global.home = std::env::var_os("WEIR_HOME").map(Into::into);
    // Before there is a second thread: it changes what the whole process belongs to.
    cmd::run::prepare(&cli.command)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| {
            CliError::new(
                format!("no threads to work with: {}", error::system(&e)),
                "look at the limits of this user (ulimit -a)",
            )
        })?;
    let telemetry = {
        let _inside = runtime.enter();
        let (service, log) = cmd::run::service(&cli.command);
        telemetry::start(service, log)
    };
    let done = match cli.command {
        // Servers are told everything: they need no home.
        Command::Run(server) => runtime.block_on(Box::pin(cmd::run::run(*server))),
        command => {
            if let Some(trouble) = telemetry.trouble() {
                ui.warn(&format!("traces are not exported: {trouble}"));
            }
            let span = trace::command(&telemetry, std::env::args_os());
            let done = Context::new(&cli.global, ui).and_then(|context| {
                runtime.block_on(Box::pin(cmd::run(command, &context)).instrument(span.clone()))
            });
            trace::ended(&span, &done);
            done
        }
    };
    telemetry.end(trace::END);
    // A thread may be stuck in a read of a terminal that nobody types on.
    runtime.shutdown_background();
    done
}

/// Help and version go to standard output; mistakes to standard error, with a hint.
fn refuse(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        let _ = error.print();
        return Exit::Ok;
    }
    // Clap's own text colours itself and knows what was nearly right.
    let text = error.render();
    let told = text.to_string();
    let mut stderr = std::io::stderr().lock();
    if !told.starts_with("error:") {
        // No command at all: the help is the answer.
        let _ = error.print();
        let _ = writeln!(
            stderr,
            "\nerror: no command was given\nhint: say one of those above; to begin: weir quickstart"
        );
        return Exit::Usage;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let _ = writeln!(stderr, "{}\nhint: see {} --help", shortened(&told), command_of(&words));
    Exit::Usage
}

/// What clap says, without what helps nobody here: where its help is, and that a mistyped option
/// could be a value.
fn shortened(told: &str) -> String {
    let mut kept: Vec<&str> = told
        .lines()
        .filter(|line| !line.starts_with("For more information"))
        .filter(|line| !line.trim_start().starts_with("tip: to pass"))
        .collect();
    kept.dedup_by(|line, before| line.trim().is_empty() && before.trim().is_empty());
    kept.join("\n").trim_end().to_owned()
}

/// The command that a line means, as far as it can be told: `weir topic create`.
fn command_of(words: &[String]) -> String {
    let mut path = "weir".to_owned();
    if let [run, spu, ..] = words
        && (run.as_str(), spu.as_str()) == ("run", "spu")
    {
        // It has a command line of its own.
        return "weir run spu".to_owned();
    }
    let root = Cli::command();
    let mut command = &root;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if ["--cluster", "--profile", "--timeout"].contains(&word.as_str()) {
            words.next();
        } else if let Some(found) = command.find_subcommand(word) {
            path = format!("{path} {}", found.get_name());
            command = found;
        }
    }
    path
}

/// A bug is told in one sentence too. The backtrace is there for who asks for it.
fn tell_panics() {
    let inner = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            inner(info);
            return;
        }
        let at = info
            .location()
            .map_or_else(String::new, |at| format!(" ({}:{})", at.file(), at.line()));
        let what = info.payload_as_str().unwrap_or("no reason was given");
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(
            stderr,
            "error: weir failed by a bug of its own{at}: {what}\nhint: please report it, with the \
             output of RUST_BACKTRACE=1"
        );
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_told_without_noise_and_names_its_command() {
        let line = ["weir", "topic", "create", "x", "-p", "-1"];
        let told = Cli::try_parse_from(line).unwrap_err().render().to_string();
        let short = shortened(&told);
        assert!(!short.contains("tip: to pass") && !short.contains("\n\n\n"), "{short}");
        let command = |line: &str| command_of(&line.split(' ').map(Into::into).collect::<Vec<_>>());
        assert_eq!(command("topic create x -p -1"), "weir topic create");
        assert_eq!(command("--cluster topic consume --foo"), "weir consume");
        assert_eq!(command("cluster stop --x"), "weir cluster shutdown");
        assert_eq!(command("nothing"), "weir");
    }
}
