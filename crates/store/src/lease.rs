//! Who decides: the lease, its epoch, and the fence in every deciding transaction.
//!
//! The epoch is safety: a transaction of an older one finds no row. When the lease runs out says only when another
//! replica may take it; a holder that nobody replaced may go on.

use systole_core::time::Span;

use crate::{Error, Session, Store, sql};

/// How long a lease is held without being renewed.
pub const LEASE: Span = Span::from_seconds(2);

impl Store {
    /// Takes the lease: whoever held it before cannot decide any more. Answers the epoch. For the embedded database,
    /// whose directory's lock says that nobody else holds it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn take_lease(&self, holder: u32) -> Result<i64, Error> {
        let mut session = self.session().await?;
        let row = sql::query(
            "UPDATE lease SET epoch = epoch + 1, holder = $1 WHERE name = 'decider' RETURNING epoch",
        )
        .bind(i64::from(holder))
        .fetch_one(session.connection())
        .await
        .map_err(Error::attempted("take the lease"))?;
        Ok(row.get(0))
    }

    /// Takes the lease of the shared database where it has run out; the former holder's open transactions are waited
    /// for. Answers the epoch, or `None` while somebody else holds it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn acquire_lease(&self, holder: u32) -> Result<Option<i64>, Error> {
        let mut session = self.session().await?;
        let row = sql::query(
            "UPDATE lease SET epoch = epoch + 1, holder = $1, expires = now_us() + $2
             WHERE name = 'decider' AND expires < now_us() RETURNING epoch",
        )
        .bind(i64::from(holder))
        .bind(LEASE.as_micros())
        .fetch_optional(session.connection())
        .await
        .map_err(Error::attempted("take the lease"))?;
        Ok(row.map(|row| row.get(0)))
    }

    /// Holds the lease for longer; `false` when somebody else has it.
    ///
    /// # Errors
    /// What the database says; the lease may have been renewed all the same.
    pub async fn renew_lease(&self, epoch: i64, holder: u32) -> Result<bool, Error> {
        let mut session = self.session().await?;
        let done = sql::query(
            "UPDATE lease SET expires = now_us() + $3 WHERE name = 'decider' AND epoch = $1 AND holder = $2",
        )
        .bind(epoch)
        .bind(i64::from(holder))
        .bind(LEASE.as_micros())
        .execute(session.connection())
        .await
        .map_err(Error::attempted("renew the lease"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Hands the lease over: another replica may take it at once.
    ///
    /// # Errors
    /// What the database says.
    pub async fn release_lease(&self, epoch: i64) -> Result<(), Error> {
        let mut session = self.session().await?;
        sql::query("UPDATE lease SET expires = 0 WHERE name = 'decider' AND epoch = $1")
            .bind(epoch)
            .execute(session.connection())
            .await
            .map_err(Error::attempted("hand the lease over"))?;
        Ok(())
    }

    /// Who holds it: the epoch, the stream of the holder's process, and its replica's name where the stream is known.
    ///
    /// # Errors
    /// What the database says.
    pub async fn lease_holder(&self) -> Result<(i64, u32, Option<String>), Error> {
        let row = sql::query(
            "SELECT l.epoch, l.holder, s.replica FROM lease l LEFT JOIN log_stream s ON s.stream = l.holder
             WHERE l.name = 'decider'",
        )
        .fetch_one(self.readers())
        .await
        .map_err(Error::attempted("read the lease"))?;
        let holder = u32::try_from(row.get::<i64>(1)).unwrap_or_default();
        Ok((row.get(0), holder, row.get(2)))
    }
}

/// Checks the epoch within a transaction, and keeps it as it is until that ends: who wants the lease waits.
///
/// # Errors
/// [`Error::Fenced`] when another process has taken over; the transaction is then given up.
pub(crate) async fn fence(session: &mut Session<'_>, epoch: i64) -> Result<(), Error> {
    let share = session.dialect().for_share();
    let held = sql::query(format!(
        "SELECT epoch FROM lease WHERE name = 'decider' AND epoch = $1{share}"
    ))
    .bind(epoch)
    .fetch_optional(session.connection())
    .await
    .map_err(Error::attempted("check the lease"))?;
    if held.is_some() {
        return Ok(());
    }
    session.rollback().await?;
    Err(Error::Fenced)
}
