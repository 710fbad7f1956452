//! Who holds each partition of a new topic, as a file says.

use std::path::Path;

use weir_protocol::ids::SpuId;

use crate::error::{self, CliError, Result};

const FORM: &str = "the file holds JSON: a list of SPU ids for each partition, such as \
                    [[1,2],[2,3],[3,1]]";

/// Reads it.
///
/// # Errors
/// When it cannot be read, or is of another form.
pub fn read(path: &Path) -> Result<Vec<Vec<SpuId>>> {
    let text = std::fs::read(path).map_err(|e| error::io("read", path, &e))?;
    serde_json::from_slice(&text).map_err(|error| {
        CliError::usage(format!("{} is no assignment: {error}", path.display()), FORM)
    })
}

/// How many partitions it names, and how many copies of each.
///
/// # Errors
/// When it names none, or not as many for each.
pub fn numbers(assignment: &[Vec<SpuId>]) -> Result<(u32, u32)> {
    let copies = assignment.first().map_or(0, Vec::len);
    if let Some(other) = assignment.iter().position(|spus| spus.len() != copies) {
        return Err(CliError::usage(
            format!("partition {other} is to have another number of copies than partition 0"),
            FORM,
        ));
    }
    match (u32::try_from(assignment.len()), u32::try_from(copies)) {
        (Ok(partitions @ 1..), Ok(copies @ 1..)) => Ok((partitions, copies)),
        _ => Err(CliError::usage("the assignment names nobody", FORM)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_as_many_copies() {
        let numbers = |text: &str| numbers(&serde_json::from_str::<Vec<Vec<SpuId>>>(text).unwrap());
        assert_eq!(numbers("[[1,2],[2,3],[3,1]]"), Ok((3, 2)));
        for bad in ["[]", "[[]]", "[[1],[1,2]]"] {
            assert!(numbers(bad).is_err(), "{bad}");
        }
    }
}
