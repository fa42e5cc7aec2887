//! Who asks: API tokens, the administrator's token, sessions.

use std::collections::HashMap;
use std::sync::RwLock;

use systole_core::time::{Span, Time};
use systole_store::{DEFAULT_PROJECT, Error, Store};

use crate::keys::{Keys, constant_time_eq};

/// A session ends when it was idle for so long.
pub const SESSION_IDLE: Span = Span::from_seconds(12 * 3_600);

/// What a token may do. Ordered: an administrator may all that an editor may, and so on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Reads its region's assignments and writes its region's results, nothing else.
    Probe,
    /// Likewise for its cluster.
    Agent,
    /// Reads metrics.
    Metrics,
    /// Reads.
    Viewer,
    /// Changes monitors, channels, incidents.
    Editor,
    /// All.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 6] = [
        Role::Admin,
        Role::Editor,
        Role::Viewer,
        Role::Metrics,
        Role::Agent,
        Role::Probe,
    ];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Editor => "editor",
            Role::Viewer => "viewer",
            Role::Metrics => "metrics",
            Role::Agent => "agent",
            Role::Probe => "probe",
        }
    }

    /// The role of a word.
    pub fn parse(word: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// Somebody who may do something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    /// For timelines: `token deploy`, `ada@example.org`.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Where.
    pub project: i64,
}

/// API tokens in memory, by the keyed hash.
#[derive(Default)]
pub struct Principals {
    tokens: RwLock<HashMap<[u8; 32], Principal>>,
    fixed: Vec<([u8; 32], Principal)>,
}

impl Principals {
    /// Reads the stored tokens; `fixed` are those that are not stored: the administrator's, the local one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn load(
        store: &Store,
        keys: &Keys,
        fixed: &[(&str, &str)],
    ) -> Result<Principals, Error> {
        let fixed = fixed.iter().map(|(name, token)| {
            let principal = Principal {
                name: (*name).to_owned(),
                role: Role::Admin,
                project: DEFAULT_PROJECT,
            };
            (keys.hash(token), principal)
        });
        let principals = Principals {
            tokens: RwLock::default(),
            fixed: fixed.collect(),
        };
        principals.reload(store).await?;
        Ok(principals)
    }

    /// Reads the stored tokens again, after one was made or deleted.
    ///
    /// # Errors
    /// What the database says.
    pub async fn reload(&self, store: &Store) -> Result<(), Error> {
        let mut tokens = HashMap::new();
        for (row, hash) in store.tokens(DEFAULT_PROJECT).await? {
            let (Ok(hash), Some(role)) = (hash.try_into(), Role::parse(&row.role)) else {
                continue;
            };
            tokens.insert(
                hash,
                Principal {
                    name: format!("token {}", row.name),
                    role,
                    project: row.project,
                },
            );
        }
        *self
            .tokens
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = tokens;
        Ok(())
    }

    /// Whose bearer token this is.
    pub fn by_token(&self, keys: &Keys, token: &str) -> Option<Principal> {
        let hash = keys.hash(token);
        if let Some((_, principal)) = self
            .fixed
            .iter()
            .find(|(known, _)| constant_time_eq(known, &hash))
        {
            return Some(principal.clone());
        }
        self.tokens
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .get(&hash)
            .cloned()
    }

    /// Whose session this is.
    ///
    /// # Errors
    /// What the database says.
    pub async fn by_session(
        &self,
        store: &Store,
        keys: &Keys,
        session: &str,
        now: Time,
    ) -> Result<Option<Principal>, Error> {
        let found = store
            .session_of(now, &keys.hash(session), SESSION_IDLE)
            .await?;
        Ok(found.and_then(|(name, role)| {
            Some(Principal {
                name,
                role: Role::parse(&role)?,
                project: DEFAULT_PROJECT,
            })
        }))
    }
}
