//! What every page has around it: who is signed in, what was just done, what is wrong with the set-up.

use std::collections::HashMap;
use std::sync::Mutex;

use systole_store::Error;

use super::Pages;
use super::visitor::Visitor;
use crate::api::monitors::names_loopback;
use crate::app::App;
use crate::compose::monitor_id;
use crate::web::views::{Frame, Notice, Viewer};

/// Sessions that have something to be told; beyond it all are forgotten.
const WAITING_MAX: usize = 1_000;

/// Monitors that a notice names; of more it says how many.
const NAMED_MAX: u32 = 5;

/// What was just done, until the next page of the session says it.
#[derive(Default)]
pub(super) struct NoticesToShow(Mutex<HashMap<[u8; 32], Vec<Notice>>>);

impl NoticesToShow {
    /// For the page that this session sees next.
    pub(super) fn say(&self, visitor: &Visitor, warning: bool, text: impl Into<String>) {
        let mut waiting = self.lock();
        if waiting.len() >= WAITING_MAX {
            waiting.clear();
        }
        let notice = Notice {
            warning,
            text: text.into().into(),
            links: Vec::new(),
            standing: false,
        };
        waiting.entry(visitor.session).or_default().push(notice);
    }

    /// Once; a page that merely looks again does not show it.
    fn take(&self, visitor: &Visitor) -> Vec<Notice> {
        if visitor.is_refresh {
            Vec::new()
        } else {
            self.lock().remove(&visitor.session).unwrap_or_default()
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Vec<Notice>>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What a page says of the set-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Says {
    /// Everything that is wrong with it.
    All,
    /// How the server is reached: where ping URLs stand.
    Reach,
    /// Nothing: who looks here has something else on their mind.
    Nothing,
}

/// Around a page of somebody who is signed in.
pub(super) async fn frame(pages: &Pages, visitor: &Visitor, says: Says) -> Result<Frame, Error> {
    let app = &pages.app;
    let mut notices = pages.notices.take(visitor);
    if says != Says::Nothing {
        notices.extend(reachability(app));
    }
    if says == Says::All {
        notices.extend(channels(app, visitor).await?);
    }
    let open = app.store.count_open_incidents(visitor.project()).await?;
    Ok(Frame {
        notices,
        open_incidents: usize::try_from(open).unwrap_or(0),
        ..bare(pages, Some(visitor))
    })
}

/// Without asking the database.
pub(super) fn bare(pages: &Pages, visitor: Option<&Visitor>) -> Frame {
    Frame {
        now: pages.app.now(),
        viewer: visitor.map(|visitor| Viewer {
            name: visitor.principal.name.clone().into(),
            can_edit: visitor.can_edit(),
        }),
        notices: Vec::new(),
        open_incidents: 0,
    }
}

fn warning(text: String) -> Notice {
    Notice {
        warning: true,
        text: text.into(),
        links: Vec::new(),
        standing: true,
    }
}

/// What jobs and browsers meet: plain HTTP off this machine, ping URLs that only this machine can use.
fn reachability(app: &App) -> Vec<Notice> {
    let mut notices = Vec::new();
    let url = app.base_url.as_str();
    if names_loopback(app) {
        notices.push(warning(format!(
            "Ping URLs begin with {url}, which only this machine can reach. Start the server with --base-url and the \
             address that your jobs can reach."
        )));
    }
    let is_plain = app.config.tls.is_none()
        && !app.config.listen.ip().is_loopback()
        && !url.starts_with("https://");
    if is_plain {
        notices.push(warning(
            "Served over plain HTTP: passwords and tokens travel readable. Give --tls-cert and --tls-key, or put a proxy \
             with TLS before it and name its https:// address in --base-url."
                .to_owned(),
        ));
    }
    notices
}

/// Whom nobody would be told of, and whether anybody would hear that a message did not arrive.
async fn channels(app: &App, visitor: &Visitor) -> Result<Vec<Notice>, Error> {
    let channels = app.store.channels(visitor.project()).await?;
    let to_channels = || vec![("/channels".to_owned(), "Channels".to_owned().into())];
    let mut notices = Vec::new();
    if app.engine.read().is_empty() {
        return Ok(notices);
    }
    if channels.is_empty() {
        let text = "No channel exists: incidents open, and nobody is told. Make one under";
        notices.push(Notice {
            links: to_channels(),
            ..warning(text.to_owned())
        });
        return Ok(notices);
    }
    let without = app.store.count_without_channel(visitor.project()).await?;
    if without > 0 {
        let first = app
            .store
            .without_channel(visitor.project(), NAMED_MAX)
            .await?;
        let links = first.into_iter().map(|(id, name)| {
            let path = format!("/monitors/{}", monitor_id(id));
            (path, name.into())
        });
        let (who, they_go) = match without {
            1 => ("1 monitor has".to_owned(), "it goes"),
            n => (format!("{n} monitors have"), "they go"),
        };
        let some = if without > i64::from(NAMED_MAX) {
            ", among them"
        } else {
            ""
        };
        notices.push(Notice {
            links: links.collect(),
            ..warning(format!(
                "{who} no channel: when {they_go} down, nobody is told. Make a default channel, or name one in the \
                 settings{some}:"
            ))
        });
    }
    if channels.iter().all(|channel| !channel.fields.system) {
        let text = "Nobody is told when a message cannot be delivered: edit a channel and tick the box for that, under";
        notices.push(Notice {
            links: to_channels(),
            ..warning(text.to_owned())
        });
    }
    Ok(notices)
}
