//! A storm in the evening and the night after it, told by the clock: how many messages a channel gets, and of what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use systole_core::engine::{Engine, Position};
use systole_core::heartbeat::{Checkin, Settings, Signal};
use systole_core::maintenance::{Selector, When, Window};
use systole_core::message::{MessageKind, Occasion};
use systole_core::schedule::Schedule;
use systole_core::time::{Span, Time};
use systole_store::channels::ChannelFields;
use systole_store::decide::SettingsIds;
use systole_store::deliveries::{Attempt, Finish, Outgoing};
use systole_store::log::Batch;
use systole_store::maintenance::MaintenanceFields;
use systole_store::monitors::{MonitorFields, StoredToken};
use systole_store::record::{BatchPacker, CheckinRecord, Method};
use systole_store::{DEFAULT_PROJECT, Store};

use crate::Place;

on_both!(
    three_hundred_down_within_ten_seconds_are_six_messages_and_the_night_has_reminders_only,
    a_window_over_the_night_holds_reminders_back_too,
);

const EVENING: Time = Time::from_seconds(1_800_000_000);
const HOUR: i64 = 3_600;

/// A message as its channel gets it: several deliveries that go together are one.
#[derive(Debug)]
struct Message {
    at: Time,
    channel: i64,
    parts: Vec<(MessageKind, String, Occasion)>,
}

struct Night {
    store: Store,
    engine: Engine,
    settings: SettingsIds,
    epoch: i64,
    stream: u32,
    seq: u64,
    now: Time,
    keys: u64,
    messages: Vec<Message>,
    _place: Place,
}

fn channel(name: &str, digest: bool) -> ChannelFields {
    ChannelFields {
        name: name.to_owned(),
        kind: "webhook".to_owned(),
        config_cipher: Vec::new(),
        default: true,
        system: false,
        remind_every: Span::from_seconds(4 * HOUR).as_micros(),
        digest,
        set: None,
        unsubscribed_cipher: None,
    }
}

impl Night {
    /// So many heartbeats, and channel 1, which gathers.
    async fn of(place: Place, monitors: u32) -> Night {
        let store = place.open().await;
        store.install(EVENING, "key", b"check").await.unwrap();
        store
            .create_channel(EVENING, DEFAULT_PROJECT, &channel("people", true))
            .await
            .unwrap();
        let every = Schedule::every(Span::from_seconds(30 * 24 * HOUR)).unwrap();
        let settings = Arc::new(Settings::new(every, Span::from_seconds(60)));
        let rows: Vec<(MonitorFields, StoredToken)> = (1..=monitors)
            .map(|n| {
                let fields = MonitorFields {
                    name: format!("job {n:03}"),
                    slug: format!("job-{n:03}"),
                    description: String::new(),
                    severity: "critical".to_owned(),
                    labels: Vec::new(),
                    owner: String::new(),
                    runbook_url: String::new(),
                    channels: None,
                    set: None,
                    settings: Arc::clone(&settings),
                };
                let mut hash = vec![0; 32];
                hash[..4].copy_from_slice(&n.to_be_bytes());
                let cipher = Vec::new();
                (fields, StoredToken { hash, cipher })
            })
            .collect();
        store
            .create_monitors(EVENING, "somebody", DEFAULT_PROJECT, &rows)
            .await
            .unwrap();
        let stream = store.open_stream("night", EVENING).await.unwrap();
        let epoch = store.take_lease(stream).await.unwrap();
        let booted = store.boot().await.unwrap();
        Night {
            engine: Engine::boot(booted.boot),
            settings: booted.settings,
            store,
            epoch,
            stream,
            seq: 0,
            now: EVENING,
            keys: 0,
            messages: Vec::new(),
            _place: place,
        }
    }

    /// Check-ins of these monitors, decided and sent.
    async fn report(&mut self, monitors: impl Iterator<Item = u32>, signal: Signal) {
        let mut packer = BatchPacker::new(self.now);
        let mut count = 0;
        for monitor in monitors {
            count += 1;
            packer.push(&CheckinRecord {
                monitor,
                checkin: Checkin {
                    at: self.now,
                    signal,
                    run: None,
                },
                previous: Position::NONE,
                method: Method::Post,
                source: None,
                user_agent: Arc::from("test"),
                message: String::new(),
                body: Vec::new(),
                body_truncated: false,
            });
        }
        self.seq += 1;
        let batch = Batch {
            stream: self.stream,
            seq: self.seq,
            at: self.now,
            count,
            body: if count == 0 {
                Vec::new()
            } else {
                packer.finish()
            },
        };
        let now = self.now;
        self.store.append(&batch, || now).await.unwrap();
        while self.decide().await {}
        self.look().await;
    }

    async fn decide(&mut self) -> bool {
        let mut deciding = self.store.begin_decision(self.epoch).await.unwrap();
        let rows = deciding.tail(self.engine.vector(), 10_000).await.unwrap();
        for row in &rows {
            self.engine.observe(row).unwrap();
        }
        let Some(decision) = self.engine.decide(self.now) else {
            deciding.rollback().await.unwrap();
            return false;
        };
        let keys = &mut self.keys;
        let key = || {
            *keys += 1;
            format!("key {keys}")
        };
        let outgoing = deciding
            .write(&decision, &mut self.settings, key)
            .await
            .unwrap();
        deciding.commit().await.unwrap();
        self.engine.install(decision);
        self.arrive(outgoing).await;
        true
    }

    /// What the loops do: say again, let go, send what is due.
    async fn look(&mut self) {
        if self.store.wants_follow_up(self.now, true).await.unwrap() {
            let keys = &mut self.keys;
            let key = || {
                *keys += 1;
                format!("key {keys}")
            };
            let mut deciding = self.store.begin_decision(self.epoch).await.unwrap();
            let cut = self.engine.version();
            deciding.follow_up(self.now, cut, key).await.unwrap();
            deciding.commit().await.unwrap();
        }
        loop {
            let claimed = self.store.claim(self.now, 64, &[]).await.unwrap();
            if claimed.is_empty() {
                return;
            }
            self.arrive(claimed).await;
        }
    }

    /// Every message arrives at once.
    async fn arrive(&mut self, outgoing: Vec<Outgoing>) {
        let mut together: BTreeMap<(i64, String), Vec<Outgoing>> = BTreeMap::new();
        for one in outgoing {
            let name = one.grouped.clone().unwrap_or_else(|| one.key.clone());
            together.entry((one.channel, name)).or_default().push(one);
        }
        for ((channel, _), parts) in together {
            let claims: Vec<(i64, i64)> = parts.iter().map(|one| (one.id, one.claim)).collect();
            let attempt = Attempt {
                at: self.now,
                latency: Span::ZERO,
                outcome: "delivered".to_owned(),
                status: Some(200),
                detail: String::new(),
            };
            self.store
                .finish(self.now, &claims, &attempt, Finish::Delivered)
                .await
                .unwrap();
            self.messages.push(Message {
                at: self.now,
                channel,
                parts: parts
                    .into_iter()
                    .map(|one| (one.kind, one.incident.monitor_name, one.occasion))
                    .collect(),
            });
        }
    }

    /// Time goes by, in steps like the loops'.
    async fn pass(&mut self, seconds: i64, step: i64) {
        let until = self.now + Span::from_seconds(seconds);
        while self.now < until {
            self.now = self.now + Span::from_seconds(step);
            self.look().await;
        }
    }

    fn taken(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.messages)
    }
}

fn names(messages: &[Message]) -> BTreeSet<&str> {
    messages
        .iter()
        .flat_map(|message| message.parts.iter().map(|(_, name, _)| name.as_str()))
        .collect()
}

async fn three_hundred_down_within_ten_seconds_are_six_messages_and_the_night_has_reminders_only(
    place: Place,
) {
    let mut night = Night::of(place, 300).await;
    for second in 0..10_u32 {
        let those = second * 30 + 1..second * 30 + 31;
        night.report(those, Signal::Fail).await;
        night.now = night.now + Span::from_seconds(1);
    }
    night.pass(30, 1).await;
    let storm = night.taken();
    assert!(storm.len() <= 6, "{} messages", storm.len());
    assert_eq!(names(&storm).len(), 300, "every monitor is named");
    assert!(storm.iter().all(|message| message.channel == 1));

    // Twelve hours later it has been said again three times, all of it in one message each time.
    night.pass(12 * HOUR + 300, 60).await;
    let reminders = night.taken();
    let at: Vec<i64> = reminders
        .iter()
        .map(|message| message.at.since(EVENING).as_seconds() / HOUR)
        .collect();
    assert_eq!(at, [4, 8, 12]);
    for (number, message) in (1..).zip(&reminders) {
        assert_eq!(message.parts.len(), 300);
        for (kind, _, occasion) in &message.parts {
            assert_eq!(*kind, MessageKind::Updated);
            assert_eq!(*occasion, Occasion::Reminder { number });
        }
    }

    // In the morning they recover, one after the other, and that is no storm of messages either.
    night.report(1..301, Signal::Success).await;
    night.pass(30, 1).await;
    let morning = night.taken();
    assert!(morning.len() <= 6, "{} messages", morning.len());
    assert_eq!(names(&morning).len(), 300);
    night.pass(12 * HOUR, 60).await;
    assert!(night.taken().is_empty(), "it is over");
}

async fn a_window_over_the_night_holds_reminders_back_too(place: Place) {
    let mut night = Night::of(place, 2).await;
    night.report(1..2, Signal::Fail).await;
    let window = Window {
        name: "patch night".to_owned(),
        selector: Selector {
            all: true,
            ..Selector::default()
        },
        when: When::once(
            EVENING + Span::from_seconds(HOUR),
            EVENING + Span::from_seconds(9 * HOUR),
        )
        .unwrap(),
        ended_at: None,
    };
    let fields = MaintenanceFields {
        description: String::new(),
        window,
        set: None,
    };
    night
        .store
        .create_maintenance(EVENING, "somebody", DEFAULT_PROJECT, &fields)
        .await
        .unwrap();
    assert_eq!(night.taken().len(), 1);
    night.pass(2 * HOUR, 60).await;
    night.report(2..3, Signal::Fail).await;
    night.pass(6 * HOUR, 60).await;
    assert!(night.taken().is_empty(), "nothing is sent in it");
    night.pass(2 * HOUR, 60).await;
    let after = night.taken();
    let said: Vec<(MessageKind, &str)> = after
        .iter()
        .flat_map(|message| {
            message
                .parts
                .iter()
                .map(|(kind, name, _)| (*kind, name.as_str()))
        })
        .collect();
    assert_eq!(
        said.iter().collect::<BTreeSet<_>>(),
        [
            (MessageKind::Triggered, "job 002"),
            (MessageKind::Updated, "job 001")
        ]
        .iter()
        .collect::<BTreeSet<_>>()
    );
    assert!(
        after
            .iter()
            .all(|message| message.at.since(EVENING).as_seconds() >= 9 * HOUR)
    );
    let occasions: Vec<&Occasion> = after
        .iter()
        .flat_map(|message| message.parts.iter().map(|(_, _, occasion)| occasion))
        .collect();
    assert!(occasions.contains(&&Occasion::MaintenanceOver {
        window: "patch night".to_owned()
    }));
}
