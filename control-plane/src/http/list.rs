//! What lists are asked: how many, and where to go on.

use axum::extract::{FromRequestParts, Query};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::request::Parts;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Problem;
use crate::app::page::{LIMIT_DEFAULT, LIMIT_MAX};

/// The query of every list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Most items of the page, 1 to 500.
    #[param(minimum = 1, maximum = 500, default = 100, required = false)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(required = false)]
    cursor: Option<String>,
    /// Weir's own topics too (lists of topics only).
    #[serde(default)]
    #[param(required = false)]
    pub(super) internal: bool,
    /// Deleted topics instead of those that are there (lists of topics only).
    #[serde(default)]
    #[param(required = false)]
    pub(super) deleted: bool,
}

/// A checked [`ListQuery`].
pub(super) struct List(ListQuery);

impl<S: Send + Sync> FromRequestParts<S> for List {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(query) = Query::<ListQuery>::try_from_uri(&parts.uri).map_err(|error| {
            Problem::invalid(
                error.body_text(),
                "Lists take limit (1 to 500) and cursor (next_cursor of the page before).",
            )
        })?;
        if query.limit.is_some_and(|limit| !(1..=LIMIT_MAX).contains(&limit)) {
            return Err(Problem::invalid(
                "limit: not possible",
                format!("Ask for 1 to {LIMIT_MAX} items."),
            ));
        }
        Ok(Self(query))
    }
}

impl List {
    /// Most items of the page.
    pub(super) fn limit(&self) -> u32 {
        self.0.limit.unwrap_or(LIMIT_DEFAULT)
    }

    /// Internal ones too.
    pub(super) const fn internal(&self) -> bool {
        self.0.internal
    }

    /// Deleted ones instead.
    pub(super) const fn deleted(&self) -> bool {
        self.0.deleted
    }

    /// The key to go on after; empty: from the first. `kind` keeps the cursors of different
    /// lists apart.
    pub(super) fn after(&self, kind: &str) -> Result<String, Problem> {
        let Some(cursor) = &self.0.cursor else { return Ok(String::new()) };
        BASE64_URL_SAFE_NO_PAD
            .decode(cursor)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .filter(|text| !text.contains('\0'))
            .and_then(|text| Some(text.strip_prefix(kind)?.strip_prefix(':')?.to_owned()))
            .ok_or_else(|| {
                Problem::invalid(
                    "cursor: not one of this list",
                    "Leave it out to begin again, or give back next_cursor as it came.",
                )
            })
    }
}

/// The cursor that goes on after `key`.
pub(super) fn cursor(kind: &str, key: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{kind}:{key}"))
}
