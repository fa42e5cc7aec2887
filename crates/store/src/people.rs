//! API tokens, people, sessions, set-up codes. Every secret is a hash here.

use systole_core::time::{Span, Time};

use crate::error::taken;
use crate::{Error, Store, sql};

/// An API token's row.
#[derive(Clone, Debug)]
pub struct TokenRow {
    /// Its number.
    pub id: i64,
    /// Its project.
    pub project: i64,
    /// Unique per project.
    pub name: String,
    /// `admin`, `editor`, `viewer`, `metrics`, `agent` or `probe`.
    pub role: String,
    /// For a probe.
    pub region: Option<String>,
    /// For an agent.
    pub cluster: Option<String>,
    /// When it was made.
    pub created_at: Time,
}

/// A person who can sign in.
#[derive(Clone, Debug)]
pub struct PersonRow {
    /// Their number.
    pub id: i64,
    /// Their address.
    pub email: String,
    /// argon2id, in PHC form.
    pub password_hash: String,
    /// As of tokens.
    pub role: String,
}

impl Store {
    /// Makes an API token.
    ///
    /// # Errors
    /// [`Error::Taken`] for a name in use.
    pub async fn create_token(&self, token: &TokenRow, hash: &[u8]) -> Result<i64, Error> {
        let mut session = self.session().await?;
        let row = sql::query(
            "INSERT INTO token (project_id, name, role, hash, region, cluster, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
        )
        .bind(token.project)
        .bind(&token.name)
        .bind(&token.role)
        .bind(hash)
        .bind(&token.region)
        .bind(&token.cluster)
        .bind(token.created_at.as_micros())
        .fetch_one(session.connection())
        .await
        .map_err(taken("make a token", "token", &[("token.name", "name")]))?;
        Ok(row.get(0))
    }

    /// Every API token with its hash, newest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn tokens(&self, project: i64) -> Result<Vec<(TokenRow, Vec<u8>)>, Error> {
        let rows = sql::query(
            "SELECT id, project_id, name, role, region, cluster, created_at, hash FROM token
             WHERE project_id = $1 ORDER BY id DESC",
        )
        .bind(project)
        .fetch_all(self.readers())
        .await
        .map_err(Error::attempted("read tokens"))?;
        let read = |row: &sql::Row| {
            let token = TokenRow {
                id: row.get(0),
                project: row.get(1),
                name: row.get(2),
                role: row.get(3),
                region: row.get(4),
                cluster: row.get(5),
                created_at: Time::from_micros(row.get(6)),
            };
            (token, row.get(7))
        };
        Ok(rows.iter().map(read).collect())
    }

    /// Deletes an API token.
    ///
    /// # Errors
    /// What the database says.
    pub async fn delete_token(&self, project: i64, id: i64) -> Result<bool, Error> {
        let mut session = self.session().await?;
        let deleted = sql::query("DELETE FROM token WHERE project_id = $1 AND id = $2")
            .bind(project)
            .bind(id)
            .execute(session.connection())
            .await
            .map_err(Error::attempted("delete a token"))?;
        Ok(deleted.rows_affected() == 1)
    }

    /// Whether anybody can sign in.
    ///
    /// # Errors
    /// What the database says.
    pub async fn has_people(&self) -> Result<bool, Error> {
        let row = sql::query("SELECT COUNT(*) FROM person")
            .fetch_one(self.readers())
            .await
            .map_err(Error::attempted("count people"))?;
        Ok(row.get::<i64>(0) > 0)
    }

    /// A person by their address.
    ///
    /// # Errors
    /// What the database says.
    pub async fn person(&self, email: &str) -> Result<Option<PersonRow>, Error> {
        let row = sql::query("SELECT id, email, password_hash, role FROM person WHERE email = $1")
            .bind(email)
            .fetch_optional(self.readers())
            .await
            .map_err(Error::attempted("read a person"))?;
        Ok(row.map(|row| PersonRow {
            id: row.get(0),
            email: row.get(1),
            password_hash: row.get(2),
            role: row.get(3),
        }))
    }

    /// Keeps one set-up code, valid until `expires`; former ones are void.
    ///
    /// # Errors
    /// What the database says.
    pub async fn set_setup_code(&self, hash: &[u8], expires: Time) -> Result<(), Error> {
        let mut session = self.session().await?;
        session.begin().await?;
        let set = async {
            let attempted = || Error::attempted("keep a set-up code");
            sql::query("DELETE FROM setup_code")
                .execute(session.connection())
                .await
                .map_err(attempted())?;
            sql::query("INSERT INTO setup_code (hash, expires) VALUES ($1, $2)")
                .bind(hash)
                .bind(expires.as_micros())
                .execute(session.connection())
                .await
                .map_err(attempted())?;
            Ok(())
        }
        .await;
        session.end(set).await
    }

    /// Makes the administrator with a set-up code, which is used up; `false` when the code is not valid (any longer).
    ///
    /// # Errors
    /// [`Error::Taken`] for an address in use.
    pub async fn set_up(
        &self,
        now: Time,
        code: &[u8],
        email: &str,
        password_hash: &str,
    ) -> Result<bool, Error> {
        let mut session = self.session().await?;
        session.begin().await?;
        let made = async {
            let used = sql::query("DELETE FROM setup_code WHERE hash = $1 AND expires > $2")
                .bind(code)
                .bind(now.as_micros())
                .execute(session.connection())
                .await
                .map_err(Error::attempted("use a set-up code"))?;
            if used.rows_affected() == 0 {
                return Ok(false);
            }
            sql::query("INSERT INTO person (email, password_hash, role, created_at) VALUES ($1, $2, 'admin', $3)")
                .bind(email)
                .bind(password_hash)
                .bind(now.as_micros())
                .execute(session.connection())
                .await
                .map_err(taken("make the administrator", "person", &[("person.email", "email")]))?;
            Ok(true)
        }
        .await;
        session.end(made).await
    }

    /// Begins a session; `person` is absent for one begun with the administrator's token.
    ///
    /// # Errors
    /// What the database says.
    pub async fn begin_session(
        &self,
        now: Time,
        hash: &[u8],
        person: Option<i64>,
        idle: Span,
    ) -> Result<(), Error> {
        let mut session = self.session().await?;
        session.begin().await?;
        let begun = async {
            let attempted = || Error::attempted("begin a session");
            sql::query("DELETE FROM session WHERE seen_at < $1")
                .bind((now - idle).as_micros())
                .execute(session.connection())
                .await
                .map_err(attempted())?;
            sql::query("INSERT INTO session (hash, person_id, seen_at) VALUES ($1, $2, $3)")
                .bind(hash)
                .bind(person)
                .bind(now.as_micros())
                .execute(session.connection())
                .await
                .map_err(attempted())?;
            Ok(())
        }
        .await;
        session.end(begun).await
    }

    /// Whose session this is: address and role; `None` when it is unknown or was idle too long.
    ///
    /// # Errors
    /// What the database says.
    pub async fn session_of(
        &self,
        now: Time,
        hash: &[u8],
        idle: Span,
    ) -> Result<Option<(String, String)>, Error> {
        let row = sql::query(
            "SELECT s.seen_at, p.email, p.role FROM session s LEFT JOIN person p ON p.id = s.person_id
             WHERE s.hash = $1 AND s.seen_at >= $2",
        )
        .bind(hash)
        .bind((now - idle).as_micros())
        .fetch_optional(self.readers())
        .await
        .map_err(Error::attempted("read a session"))?;
        let Some(row) = row else { return Ok(None) };
        // Written at most once a minute: every page view would be a commit otherwise.
        if now.since(Time::from_micros(row.get(0))) > Span::from_seconds(60) {
            let mut session = self.session().await?;
            sql::query("UPDATE session SET seen_at = $2 WHERE hash = $1")
                .bind(hash)
                .bind(now.as_micros())
                .execute(session.connection())
                .await
                .map_err(Error::attempted("keep a session"))?;
        }
        let email: Option<String> = row.get(1);
        let role: Option<String> = row.get(2);
        Ok(Some((
            email.unwrap_or_else(|| "administrator's token".to_owned()),
            role.unwrap_or_else(|| "admin".to_owned()),
        )))
    }

    /// Ends the sessions begun with an administrator's token: at a start that token may be another.
    ///
    /// # Errors
    /// What the database says.
    pub async fn end_sessions_of_tokens(&self) -> Result<(), Error> {
        let mut session = self.session().await?;
        sql::query("DELETE FROM session WHERE person_id IS NULL")
            .execute(session.connection())
            .await
            .map_err(Error::attempted("end the sessions of tokens"))?;
        Ok(())
    }

    /// Ends a session.
    ///
    /// # Errors
    /// What the database says.
    pub async fn end_session(&self, hash: &[u8]) -> Result<(), Error> {
        let mut session = self.session().await?;
        sql::query("DELETE FROM session WHERE hash = $1")
            .bind(hash)
            .execute(session.connection())
            .await
            .map_err(Error::attempted("end a session"))?;
        Ok(())
    }
}
