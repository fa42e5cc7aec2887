//! Making monitors: one, or many in one transaction, by the same rules.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use http::StatusCode;
use systole_core::engine::MonitorId;
use systole_core::time::Time;
use systole_store::Error;
use systole_store::monitors::{KnownToken, MonitorFields, MonitorRow, StoredToken};
use systole_wire::bulk::item_path;
use systole_wire::strict::from_value;
use systole_wire::{FieldError, Monitor, MonitorInput, MonitorsCreated, MonitorsInput};

use super::ApiError;
use super::fields::{Channels, Written};
use super::monitor_reply::reply;
use super::monitors::channels;
use crate::app::App;
use crate::principals::Principal;
use crate::provision::{new_token, store_token};

/// How often a slug made from a name gets another number before it is given up.
const SLUGS_MAX: u32 = 200;
/// The numbers, a few first: most slugs need no more, and all of them for each of many names are many.
const NUMBERS: [RangeInclusive<u32>; 2] = [2..=9, 10..=SLUGS_MAX];
/// How often making is tried again when others made something of the same slug meanwhile.
const TRIES: usize = 5;
/// The kind of all that is made here.
const KIND: &str = "heartbeat";
/// Once there are so many errors, each further item has one: every wrong item is named, and the reply stays bounded.
const MANY_ERRORS: usize = 1_000;
/// After so many monitors others have the thread: check-ins must not wait for a long list.
const YIELD_EVERY: usize = 50;

/// A monitor that is right by itself; whether its name is free is still to be seen.
struct Draft {
    fields: MonitorFields,
    has_slug: bool,
    token: String,
    /// The token was brought along.
    has_token: bool,
    stored: StoredToken,
}

/// Why none was made: by the index of the monitor.
enum Refused {
    /// Fields that are wrong.
    Invalid(Vec<(usize, FieldError)>),
    /// Fields whose values others have.
    Taken(Vec<(usize, &'static str)>),
    /// Something else.
    Other(ApiError),
}

impl<E: Into<ApiError>> From<E> for Refused {
    fn from(error: E) -> Refused {
        Refused::Other(error.into())
    }
}

impl Refused {
    /// `place` is where a field of a monitor stands in the request.
    fn said(self, place: impl Fn(usize, &str) -> String) -> ApiError {
        match self {
            Refused::Invalid(errors) => {
                let errors = errors.into_iter();
                let placed = errors.map(|(index, error)| FieldError {
                    field: place(index, &error.field),
                    ..error
                });
                ApiError::invalid(placed.collect())
            }
            Refused::Taken(taken) => {
                let fields = taken.into_iter().map(|(index, field)| place(index, field));
                ApiError::all_taken(fields.collect(), "monitor")
            }
            Refused::Other(error) => error,
        }
    }
}

/// Makes a monitor. It is known to check-ins and to the engine when this returns.
///
/// # Errors
/// Wrong fields; a name, slug or token in use.
pub async fn create(
    app: &Arc<App>,
    by: &Principal,
    input: MonitorInput,
) -> Result<Monitor, ApiError> {
    let channels = channels(app, by).await?;
    let draft = draft(app, input, &channels).map_err(|refused| refused.said(alone))?;
    let made = make(app, by, vec![draft], &channels).await;
    let mut made = made.map_err(|refused| refused.said(alone))?;
    made.pop().ok_or_else(unnumbered)
}

/// The fields of the only monitor stand at the top.
fn alone(_: usize, field: &str) -> String {
    field.to_owned()
}

/// The fields of one of many stand in its item.
fn among(index: usize, field: &str) -> String {
    match field {
        "" => item_path(index),
        field => format!("{}.{field}", item_path(index)),
    }
}

fn unnumbered() -> ApiError {
    Error::Corrupt("a monitor was made without a number").into()
}

/// Makes many monitors, or none where one of them cannot be made.
///
/// # Errors
/// Every wrong field of every item; names, slugs and tokens in use.
pub async fn create_many(
    app: &Arc<App>,
    by: &Principal,
    input: MonitorsInput,
) -> Result<MonitorsCreated, ApiError> {
    let channels = channels(app, by).await?;
    let mut drafts = Vec::with_capacity(input.items.len());
    let mut errors = Errors::default();
    for (index, value) in input.items.into_iter().enumerate() {
        let read = from_value::<MonitorInput>(value).map_err(|wrong| invalid(index, wrong));
        match read.and_then(|input| draft(app, input, &channels)) {
            Ok(draft) => drafts.push((index, draft)),
            Err(Refused::Invalid(wrong)) => errors.add(index, wrong),
            Err(refused) => return Err(refused.said(among)),
        }
        rest(index).await;
    }
    twice(&drafts, &mut errors);
    if !errors.0.is_empty() {
        return Err(Refused::Invalid(errors.0).said(among));
    }
    let drafts = drafts.into_iter().map(|(_, draft)| draft).collect();
    let made = make(app, by, drafts, &channels).await;
    made.map(|items| MonitorsCreated { items })
        .map_err(|refused| refused.said(among))
}

async fn rest(index: usize) {
    if index % YIELD_EVERY == YIELD_EVERY - 1 {
        tokio::task::yield_now().await;
    }
}

fn invalid(index: usize, errors: Vec<FieldError>) -> Refused {
    Refused::Invalid(errors.into_iter().map(|error| (index, error)).collect())
}

/// What is wrong with items, by their index.
#[derive(Default)]
struct Errors(Vec<(usize, FieldError)>);

impl Errors {
    fn add(&mut self, index: usize, errors: Vec<(usize, FieldError)>) {
        let most = if self.0.len() < MANY_ERRORS {
            usize::MAX
        } else {
            1
        };
        let errors = errors.into_iter().take(most);
        self.0.extend(errors.map(|(_, error)| (index, error)));
    }
}

/// Names, slugs and tokens that the request itself has twice.
fn twice(drafts: &[(usize, Draft)], errors: &mut Errors) {
    let mut seen: HashMap<(&str, &str), (usize, &str)> = HashMap::new();
    for (index, draft) in drafts {
        let fields = &draft.fields;
        let given = [
            Some(("name", fields.name.as_str())),
            draft.has_slug.then_some(("slug", fields.slug.as_str())),
            draft.has_token.then_some(("token", draft.token.as_str())),
        ];
        for (field, value) in given.into_iter().flatten() {
            match seen.entry((field, value)) {
                Entry::Vacant(place) => {
                    place.insert((*index, &fields.name));
                }
                Entry::Occupied(first) => {
                    let (first, name) = first.get();
                    let place = item_path(*first);
                    let message = format!("is the {field} of {name:?} ({place}) too");
                    errors.add(*index, vec![(0, FieldError::new(field, message))]);
                }
            }
        }
    }
}

fn draft(app: &App, input: MonitorInput, channels: &Channels) -> Result<Draft, Refused> {
    let MonitorInput::Heartbeat(input) = input;
    let has_slug = input.spec.slug.is_some();
    let written = Written {
        common: input.common,
        spec: input.spec,
    };
    let fields = written
        .fields(channels)
        .map_err(|errors| invalid(0, errors))?;
    let has_token = input.token.is_some();
    let (token, stored) = match input.token {
        Some(token) => {
            let stored = store_token(app, &token)?;
            (token, stored)
        }
        None => new_token(app)?,
    };
    Ok(Draft {
        fields,
        has_slug,
        token,
        has_token,
        stored,
    })
}

/// Makes them all in one transaction, and waits until check-ins and the engine know them.
async fn make(
    app: &Arc<App>,
    by: &Principal,
    drafts: Vec<Draft>,
    channels: &Channels,
) -> Result<Vec<Monitor>, Refused> {
    let drafts = Arc::new(drafts);
    if drafts.iter().any(|draft| is_token_taken(app, draft)) {
        return Err(Refused::Taken(taken(app, by, &drafts).await?));
    }
    for _ in 0..TRIES {
        let slugs = slugs(app, by, &drafts).await?;
        match insert(app, by, &drafts, slugs).await {
            Ok(rows) => {
                let mut made = Vec::with_capacity(rows.len());
                for (index, row) in rows.iter().enumerate() {
                    made.push(reply(app, by, row, channels));
                    rest(index).await;
                }
                return Ok(made);
            }
            Err(Refused::Taken(_)) => {
                let taken = taken(app, by, &drafts).await?;
                if !taken.is_empty() {
                    return Err(Refused::Taken(taken));
                }
                // Somebody took a slug that we had made, or has just let go what was in the way.
            }
            Err(refused) => return Err(refused),
        }
    }
    Err(Refused::Other(ApiError::conflict(
        "changed_meanwhile",
        "others make monitors of the same names, slugs or tokens all the time; try again",
    )))
}

/// A token brought along is no other one's, and no ping key either.
fn is_token_taken(app: &App, draft: &Draft) -> bool {
    let is_known = |token: &str| {
        let hash = app.keys.short_hash(token);
        app.ping_tokens.find(hash, app.now()).is_some() || app.is_ping_key(token)
    };
    draft.has_token && is_known(&draft.token)
}

/// Everything that others have.
async fn taken(
    app: &App,
    by: &Principal,
    drafts: &[Draft],
) -> Result<Vec<(usize, &'static str)>, Error> {
    let names = drafts.iter().map(|draft| draft.fields.name.as_str());
    let names = app.store.taken_names(by.project, KIND, names).await?;
    let given = drafts.iter().filter(|draft| draft.has_slug);
    let slugs = given.map(|draft| draft.fields.slug.as_str());
    let slugs = app.store.taken_slugs(by.project, slugs).await?;
    let mut taken = Vec::new();
    for (index, draft) in drafts.iter().enumerate() {
        if names.contains(&draft.fields.name) {
            taken.push((index, "name"));
        }
        if draft.has_slug && slugs.contains(&draft.fields.slug) {
            taken.push((index, "slug"));
        }
        if is_token_taken(app, draft) {
            taken.push((index, "token"));
        }
    }
    Ok(taken)
}

/// A slug for each: the given one, or one made from the name, with `-2`, `-3` and so on where that is in use.
async fn slugs(app: &App, by: &Principal, drafts: &[Draft]) -> Result<Vec<String>, Refused> {
    let own = |draft: &Draft| draft.fields.slug.clone();
    let mut slugs: Vec<String> = drafts.iter().map(own).collect();
    let given = drafts.iter().filter(|draft| draft.has_slug);
    let mut used: HashSet<String> = given.map(own).collect();
    let mut open: Vec<usize> = (0..drafts.len())
        .filter(|index| !drafts[*index].has_slug)
        .collect();
    let asked = open.iter().map(|index| slugs[*index].as_str());
    used.extend(app.store.taken_slugs(by.project, asked).await?);
    open.retain(|index| !used.insert(slugs[*index].clone()));
    for numbers in NUMBERS {
        if open.is_empty() {
            return Ok(slugs);
        }
        let bases: BTreeSet<&str> = open
            .iter()
            .map(|index| drafts[*index].fields.slug.as_str())
            .collect();
        let numbered: Vec<String> = bases
            .iter()
            .flat_map(|base| numbers.clone().map(move |n| format!("{base}-{n}")))
            .collect();
        let asked = numbered.iter().map(String::as_str);
        used.extend(app.store.taken_slugs(by.project, asked).await?);
        let mut free: HashMap<&str, RangeInclusive<u32>> =
            bases.iter().map(|base| (*base, numbers.clone())).collect();
        open.retain(|index| {
            let base = drafts[*index].fields.slug.as_str();
            let slug = free.get_mut(base).and_then(|numbers| {
                let mut slugs = numbers.map(|n| format!("{base}-{n}"));
                slugs.find(|slug| used.insert(slug.clone()))
            });
            match slug {
                Some(slug) => slugs[*index] = slug,
                None => return true,
            }
            false
        });
    }
    if open.is_empty() {
        return Ok(slugs);
    }
    let errors = open.into_iter().map(|index| {
        let base = &drafts[index].fields.slug;
        let message = format!("{SLUGS_MAX} monitors have slugs like {base:?}; give one");
        (index, FieldError::new("slug", message))
    });
    Err(Refused::Invalid(errors.collect()))
}

/// Goes on where whoever asked does not wait any more: what is in the database must be known to check-ins.
async fn insert(
    app: &Arc<App>,
    by: &Principal,
    drafts: &Arc<Vec<Draft>>,
    slugs: Vec<String>,
) -> Result<Vec<MonitorRow>, Refused> {
    let monitors = drafts.iter().zip(slugs).map(|(draft, slug)| {
        let fields = MonitorFields {
            slug,
            ..draft.fields.clone()
        };
        (fields, draft.stored.clone())
    });
    let monitors: Vec<_> = monitors.collect();
    let (app, by, drafts) = (Arc::clone(app), by.clone(), Arc::clone(drafts));
    let inserting =
        tokio::spawn(async move { insert_now(&app, &by, &drafts, monitors).await }).await;
    match inserting {
        Ok(Err(Error::Taken { .. })) => Err(Refused::Taken(Vec::new())),
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Refused::Other(ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "making them broke off; the server's log says why",
        ))),
    }
}

async fn insert_now(
    app: &App,
    by: &Principal,
    drafts: &[Draft],
    monitors: Vec<(MonitorFields, StoredToken)>,
) -> Result<Vec<MonitorRow>, Error> {
    let now = app.now();
    let (ids, row) = app
        .store
        .create_monitors(now, &by.name, by.project, &monitors)
        .await?;
    // Before their tokens are known: the engine ignores check-ins of monitors that it has not met.
    app.engine.apply(row).await;
    let known = ids.iter().zip(drafts).map(|(monitor, draft)| KnownToken {
        hash: app.keys.short_hash(&draft.token),
        monitor: *monitor,
    });
    app.ping_tokens.insert_all(known);
    let rows = ids.into_iter().zip(monitors);
    Ok(rows
        .map(|(id, monitor)| made(id, by.project, monitor, now))
        .collect())
}

/// A monitor's row as it was just written.
fn made(
    id: MonitorId,
    project: i64,
    (fields, token): (MonitorFields, StoredToken),
    now: Time,
) -> MonitorRow {
    MonitorRow {
        id,
        project,
        rev: 1,
        kind: KIND.to_owned(),
        fields,
        token_cipher: token.cipher,
        created_at: now,
        updated_at: now,
    }
}
