//! What statements are given.

use secrecy::{ExposeSecret as _, SecretString};
use weir_protocol::ids::{
    ApiKeyId, BootId, ClusterId, ControllerTerm, DatabaseId, FolderId, GenerationNumber,
    Incarnation, LaunchId, LeaderEpoch, OperationId, OrgId, PartitionEpoch, PartitionIndex,
    ProcessId, ProducerId, RestoreNumber, Revision, SpuId, TopicGenerationId,
};

use super::{DbError, DbResult};

/// A parameter of a statement, or a field of a row.
///
/// Parameters are bound by *name*: SQLite numbers `$n` by first appearance, so binding
/// `SET p = $2 WHERE name = $1` by position would silently swap them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// Numbers, times in milliseconds, booleans as 0 and 1.
    Integer(i64),
    /// Ids, names, JSON.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl Value {
    /// Whether every database takes it: Postgres has no text with a character 0 in it.
    ///
    /// # Errors
    /// [`DbError::Misuse`] when not.
    pub(super) fn check(&self) -> DbResult<()> {
        match self {
            Self::Text(text) if text.contains('\0') => {
                Err(DbError::Misuse { reason: "a text holds the character 0".to_owned() })
            }
            _ => Ok(()),
        }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Integer(i64::from(value))
    }
}

impl From<u64> for Value {
    /// Stays at `i64::MAX`: databases know no larger number, and every counter of ours ends
    /// before.
    fn from(value: u64) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Integer(i64::from(value))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(value)
    }
}

impl From<&SecretString> for Value {
    fn from(value: &SecretString) -> Self {
        Self::Text(value.expose_secret().to_owned())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! counters {
    ($($name:ident),* $(,)?) => {$(
        impl From<$name> for Value {
            fn from(value: $name) -> Self {
                Self::from(value.0)
            }
        }
    )*};
}

counters!(
    ControllerTerm,
    GenerationNumber,
    Incarnation,
    LeaderEpoch,
    PartitionEpoch,
    PartitionIndex,
    ProducerId,
    RestoreNumber,
    Revision,
    SpuId,
);

macro_rules! texts {
    ($($name:ident),* $(,)?) => {$(
        impl From<$name> for Value {
            fn from(value: $name) -> Self {
                Self::Text(value.to_string())
            }
        }
    )*};
}

texts!(
    ApiKeyId,
    BootId,
    ClusterId,
    DatabaseId,
    FolderId,
    LaunchId,
    OperationId,
    OrgId,
    ProcessId,
    TopicGenerationId,
);

/// A list of parameters: `params![org, name, 3_u32]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        vec![$($crate::store::driver::Value::from($value)),*]
    };
}
