//! An open transaction, and its view of one tenant.

use weir_protocol::ids::OrgId;

use super::{
    driver::{DbResult, Row, Transaction, Value},
    times::Stopwatch,
};

/// An open transaction. Dropped without [`Tx::commit`] it is rolled back.
pub struct Tx {
    inner: Box<dyn Transaction>,
    _stopwatch: Stopwatch,
}

impl Tx {
    pub(super) fn new(inner: Box<dyn Transaction>, stopwatch: Stopwatch) -> Self {
        Self { inner, _stopwatch: stopwatch }
    }

    /// The same transaction, restricted to the rows of `org`.
    pub const fn scoped(&mut self, org: OrgId) -> Scoped<'_> {
        Scoped { tx: self, org }
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// As [`Transaction::commit`]; after `CommitUnknown` it may have happened.
    pub async fn commit(self) -> DbResult<()> {
        self.inner.commit().await
    }

    /// For the functions of the store (and tests): a statement across tenants.
    ///
    /// # Errors
    /// As [`Transaction::execute`].
    pub async fn execute(&mut self, sql: &'static str, params: Vec<Value>) -> DbResult<u64> {
        self.inner.execute(sql, params).await
    }

    /// For the functions of the store (and tests): a query across tenants.
    ///
    /// # Errors
    /// As [`Transaction::query`].
    pub async fn query(&mut self, sql: &'static str, params: Vec<Value>) -> DbResult<Vec<Row>> {
        self.inner.query(sql, params).await
    }
}

/// A transaction's view of one tenant. The org is bound to `$1` of every statement here,
/// and a statement without a `$1` is refused by the driver: it cannot be forgotten.
pub struct Scoped<'tx> {
    tx: &'tx mut Tx,
    org: OrgId,
}

impl Scoped<'_> {
    /// Whose rows these are.
    #[must_use]
    pub const fn org(&self) -> OrgId {
        self.org
    }

    fn with_org(&self, params: Vec<Value>) -> Vec<Value> {
        let mut all = Vec::with_capacity(params.len() + 1);
        all.push(Value::from(self.org));
        all.extend(params);
        all
    }

    /// `params[0]` is `$2`.
    pub(super) async fn execute(&mut self, sql: &'static str, params: Vec<Value>) -> DbResult<u64> {
        let params = self.with_org(params);
        self.tx.execute(sql, params).await
    }

    /// `params[0]` is `$2`.
    pub(super) async fn query(
        &mut self,
        sql: &'static str,
        params: Vec<Value>,
    ) -> DbResult<Vec<Row>> {
        let params = self.with_org(params);
        self.tx.query(sql, params).await
    }

    /// The first row, if there is one.
    pub(super) async fn query_optional(
        &mut self,
        sql: &'static str,
        params: Vec<Value>,
    ) -> DbResult<Option<Row>> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }
}
