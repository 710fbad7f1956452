//! What queries return. Every getter is typed and answers with an error, never a panic: a
//! database is a file that somebody may have edited.

use std::{str::FromStr, sync::Arc};

use secrecy::SecretString;
use weir_protocol::ids::{
    ApiKeyId, BootId, ClusterId, ControllerTerm, DatabaseId, FolderId, GenerationNumber,
    Incarnation, LaunchId, LeaderEpoch, OperationId, OrgId, PartitionEpoch, PartitionIndex,
    ProcessId, ProducerId, RestoreNumber, Revision, SpuId, TopicGenerationId,
};

use super::{DbError, DbResult, Value};

/// One row of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    /// For drivers: `columns` and `values` go together.
    #[must_use]
    pub const fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// The field of this column.
    ///
    /// # Errors
    /// [`DbError::Decode`] when there is no such column, or it holds something else.
    pub fn get<T: FromValue>(&self, column: &str) -> DbResult<T> {
        self.columns
            .iter()
            .position(|name| name == column)
            .and_then(|index| self.values.get(index))
            .and_then(T::from_value)
            .ok_or_else(|| DbError::Decode { column: column.to_owned(), expected: T::EXPECTED })
    }
}

/// What a field can be read as.
pub trait FromValue: Sized {
    /// For the message when it cannot.
    const EXPECTED: &'static str;

    /// `None` when the field holds something else.
    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for i64 {
    const EXPECTED: &'static str = "number";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }
}

impl FromValue for u64 {
    const EXPECTED: &'static str = "number from 0";

    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).and_then(|number| number.try_into().ok())
    }
}

impl FromValue for u32 {
    const EXPECTED: &'static str = "number from 0 to 4294967295";

    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).and_then(|number| number.try_into().ok())
    }
}

impl FromValue for u16 {
    const EXPECTED: &'static str = "number from 0 to 65535";

    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).and_then(|number| number.try_into().ok())
    }
}

impl FromValue for bool {
    const EXPECTED: &'static str = "0 or 1";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(0) => Some(false),
            Value::Integer(1) => Some(true),
            _ => None,
        }
    }
}

impl FromValue for String {
    const EXPECTED: &'static str = "text";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl FromValue for SecretString {
    const EXPECTED: &'static str = "text";

    fn from_value(value: &Value) -> Option<Self> {
        String::from_value(value).map(Self::from)
    }
}

impl FromValue for Vec<u8> {
    const EXPECTED: &'static str = "bytes";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Blob(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

macro_rules! counters {
    ($($name:ident($inner:ty)),* $(,)?) => {$(
        impl FromValue for $name {
            const EXPECTED: &'static str = <$inner>::EXPECTED;

            fn from_value(value: &Value) -> Option<Self> {
                <$inner>::from_value(value).map(Self)
            }
        }
    )*};
}

counters!(
    ControllerTerm(u64),
    GenerationNumber(u32),
    Incarnation(u64),
    LeaderEpoch(u32),
    PartitionEpoch(u32),
    PartitionIndex(u32),
    ProducerId(u64),
    RestoreNumber(u32),
    Revision(u64),
    SpuId(u32),
);

macro_rules! texts {
    ($($name:ident),* $(,)?) => {$(
        impl FromValue for $name {
            const EXPECTED: &'static str = stringify!($name);

            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Text(text) => Self::from_str(text).ok(),
                    _ => None,
                }
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
