//! `weir completions`.

use std::io::Write as _;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::{args::Cli, error::Result, out};

/// Options of `weir completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir completions bash > ~/.local/share/bash-completion/completions/weir
  weir completions zsh > ~/.zfunc/_weir
  weir completions fish > ~/.config/fish/completions/weir.fish

A new shell completes then. zsh looks into ~/.zfunc if ~/.zshrc says so before compinit:
  fpath=(~/.zfunc $fpath); autoload -U compinit; compinit
For bash the package bash-completion must be installed.")]
pub struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(args: &CompletionsArgs) -> Result<()> {
    // Made in memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "weir", &mut script);
    std::io::stdout().lock().write_all(&script).map_err(|e| out::from_stdout(&e))
}
