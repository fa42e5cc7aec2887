//! Tokens for the API, for agents and for probes.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::problem::FieldError;
use crate::rules;
use crate::strict::{Object, Read, read_word};

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// Make, change and delete monitors and channels; act on incidents.
    Editor,
    /// Look.
    Viewer,
    /// Read the metrics.
    Metrics,
    /// Be the agent of one cluster.
    Agent,
    /// Be the probe of one region.
    Probe,
}

impl Role {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Editor => "editor",
            Role::Viewer => "viewer",
            Role::Metrics => "metrics",
            Role::Agent => "agent",
            Role::Probe => "probe",
        }
    }
}

impl Read for Role {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<Role> {
        read_word(
            &value,
            path,
            errors,
            &[
                ("admin", Role::Admin),
                ("editor", Role::Editor),
                ("viewer", Role::Viewer),
                ("metrics", Role::Metrics),
                ("agent", Role::Agent),
                ("probe", Role::Probe),
            ],
        )
    }
}

/// A token to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenInput {
    /// What it is for.
    #[schema(example = "terraform")]
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The region, for role `probe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The cluster, for role `agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

impl Read for TokenInput {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<TokenInput> {
        let mut object = Object::open(value, path, errors)?;
        let name: Option<String> = object.required("name");
        let role: Option<Role> = object.required("role");
        let region: Option<String> = object.optional("region");
        let cluster: Option<String> = object.optional("cluster");
        object.check("name", name.as_deref(), rules::name);
        for (field, given, its_role) in [
            ("region", &region, Role::Probe),
            ("cluster", &cluster, Role::Agent),
        ] {
            object.check(field, given.as_deref(), rules::name);
            match role {
                Some(role) if role == its_role && given.is_none() => {
                    object.wrong(field, format!("is required for role {}", role.as_str()));
                }
                Some(role) if role != its_role && given.is_some() => {
                    object.wrong(
                        field,
                        format!(
                            "belongs to role {}, not {}",
                            its_role.as_str(),
                            role.as_str()
                        ),
                    );
                }
                _ => {}
            }
        }
        object.finish();
        Some(TokenInput {
            name: name?,
            role: role?,
            region,
            cluster,
        })
    }
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The region, for role `probe`.
    #[serde(default)]
    pub region: Option<String>,
    /// The cluster, for role `agent`.
    #[serde(default)]
    pub cluster: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it was last used, to the minute or so.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub last_used_at: Option<String>,
}

/// A token just made: the only time that its secret is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    /// What it is.
    #[serde(flatten)]
    pub about: Token,
    /// The secret. It is stored as a hash and cannot be shown again.
    pub token: String,
}
