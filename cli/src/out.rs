//! Standard output: results as a table, JSON or YAML.

use std::io::{self, IsTerminal as _, Write};

use clap::{Args, ValueEnum};
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use serde::Serialize;

use crate::error::{CliError, Result, system};

/// A terminal that is narrower gets tables as they are: they cannot be read either way.
const TABLE_WIDTH_MIN: u16 = 40;

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON document.
    Json,
    /// The same as YAML.
    Yaml,
}

/// The `-o` option.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputArg {
    /// How the result is printed: table, json or yaml
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        hide_possible_values = true,
        value_name = "FORMAT",
        default_value = "table"
    )]
    pub format: Format,
}

/// Prints a result. `table` makes the text for people.
///
/// # Errors
/// When standard output cannot be written.
pub fn print<T: Serialize + ?Sized>(
    format: Format,
    value: &T,
    table: impl FnOnce() -> String,
) -> Result<()> {
    let text = match format {
        Format::Table => table(),
        Format::Json => serde_json::to_string_pretty(value).map_err(unprintable)?,
        Format::Yaml => serde_yaml_ng::to_string(value).map_err(unprintable)?,
    };
    line(text.trim_end())
}

/// Prints one of many results: as JSON on one line, as YAML with the line that parts documents.
///
/// # Errors
/// As [`print()`].
pub fn print_one<T: Serialize + ?Sized>(
    format: Format,
    value: &T,
    table: impl FnOnce() -> String,
) -> Result<()> {
    match format {
        Format::Table => line(&table()),
        Format::Json => line(&serde_json::to_string(value).map_err(unprintable)?),
        Format::Yaml => {
            let text = serde_yaml_ng::to_string(value).map_err(unprintable)?;
            line(&format!("---\n{}", text.trim_end()))
        }
    }
}

/// Shows a text in the place of all that the terminal shows.
///
/// # Errors
/// When standard output cannot be written.
pub fn redraw(text: &str) -> Result<()> {
    // To the corner; each line up to its end, then all below: nothing flickers.
    let text = text.replace('\n', "\u{1b}[K\n");
    line(&format!("\u{1b}[H{text}\u{1b}[K\n\u{1b}[J"))
}

/// Whether results go to a terminal.
pub fn terminal() -> bool {
    io::stdout().is_terminal()
}

/// Prints one text and a newline.
///
/// # Errors
/// When standard output cannot be written.
pub fn line(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|e| from_stdout(&e))
}

/// Why standard output could not be written.
pub fn from_stdout(error: &io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::BrokenPipe,
        _ => CliError::new(
            format!("cannot write to standard output: {}", system(error)),
            "check where the output goes, and that there is room",
        ),
    }
}

fn unprintable(error: impl std::fmt::Display) -> CliError {
    CliError::new(format!("the result cannot be printed: {error}"), "use -o table")
}

/// A table in columns, without lines around them. On a terminal it is no wider than that: long
/// cells are broken. In a pipe every row is one line.
pub fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let width = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0);
    table_within(width, header, rows)
}

fn table_within<const N: usize>(
    width: Option<u16>,
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if let Some(width) = width.filter(|width| *width >= TABLE_WIDTH_MIN) {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    let mut least = header.map(|title| title.chars().count());
    table.set_header(header);
    for row in rows {
        for (least, cell) in least.iter_mut().zip(&row) {
            let chars = cell.chars().count();
            *least = (*least).max(if chars <= WORD_CHARS_MAX { chars } else { 0 });
        }
        table.add_row(row);
    }
    for (column, least) in table.column_iter_mut().zip(least) {
        // Without lines around it the first column needs no margin.
        column.set_padding((0, 2));
        // What is broken in the middle can be neither read nor copied.
        let width = u16::try_from(least).unwrap_or(u16::MAX).saturating_add(2);
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
    }
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Longest cell that is not broken over lines, such as an address.
const WORD_CHARS_MAX: usize = 21;

/// A number, or a dash where there is none.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A number with separators: `1,000,000`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with its noun: `1 record`, `2 records`.
pub fn count(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// Bytes as people write them: `1.5 MB`.
pub fn bytes(number: u64) -> String {
    bytesize::ByteSize(number).display().si().to_string()
}

/// How long ago that was, in the largest unit that fits: `5s ago`, `3d ago`.
pub fn age(now_unix_ms: i64, at_unix_ms: i64) -> String {
    let seconds = now_unix_ms.saturating_sub(at_unix_ms).max(0) / 1000;
    let (number, unit) = match seconds {
        0 => return "now".to_owned(),
        1..60 => (seconds, 's'),
        60..3_600 => (seconds / 60, 'm'),
        3_600..86_400 => (seconds / 3_600, 'h'),
        _ => (seconds / 86_400, 'd'),
    };
    format!("{number}{unit} ago")
}

/// How fast that was: `55.0 MB/s`.
pub fn rate(number: u64, seconds: f64) -> String {
    // Rates are for people: the precision of f64 suffices.
    format!("{}/s", bytes((number as f64 / seconds.max(1e-6)) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_columns_without_trailing_spaces() {
        let text = table(
            ["NAME", "N"],
            [["a".to_owned(), "10".to_owned()], ["bcdef".to_owned(), "2".to_owned()]],
        );
        assert_eq!(text, "NAME   N\na      10\nbcdef  2");
    }

    #[test]
    fn ages_are_told_in_one_unit() {
        for (ms, text) in [
            (-5_000, "now"),
            (999, "now"),
            (1_000, "1s ago"),
            (59_999, "59s ago"),
            (60_000, "1m ago"),
            (7_199_000, "1h ago"),
            (172_800_000, "2d ago"),
        ] {
            assert_eq!(age(1_000_000_000_000, 1_000_000_000_000 - ms), text);
        }
        assert!(age(i64::MAX, i64::MIN).ends_with("d ago"));
    }

    #[test]
    fn a_table_fits_the_terminal_and_is_whole_in_a_pipe() {
        let row = || [["a".to_owned(), "word ".repeat(40).trim_end().to_owned()]];
        let within = table_within(Some(50), ["NAME", "REASON"], row());
        assert!(within.lines().count() > 2 && within.lines().all(|line| line.len() <= 50));
        for width in [None, Some(10)] {
            assert_eq!(table_within(width, ["NAME", "REASON"], row()).lines().count(), 2);
        }
        let cells = [["127.0.0.1:9600".to_owned(), "word ".repeat(40).trim_end().to_owned()]];
        let text = table_within(Some(40), ["INCARNATION", "REASON"], cells);
        assert!(text.contains("127.0.0.1:9600") && text.contains("INCARNATION"), "{text}");
        let short = [["a".to_owned(), "b".to_owned()]];
        assert_eq!(table_within(Some(50), ["N", "M"], short), "N  M\na  b");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(12_345_678), "12,345,678");
        assert_eq!(count(1, "record"), "1 record");
        assert_eq!(count(0, "record"), "0 records");
        assert_eq!(or_dash(None::<u32>), "-");
        assert_eq!(rate(2_000_000, 2.0), "1.0 MB/s");
    }
}
