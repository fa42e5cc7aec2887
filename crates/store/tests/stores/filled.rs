//! A store with something in it: a channel, monitors, incidents that an engine has decided.

use std::sync::Arc;

use systole_core::engine::{Action, Command, Engine, MonitorId, Position};
use systole_core::heartbeat::{Checkin, Settings, Signal};
use systole_core::schedule::Schedule;
use systole_core::time::{Span, Time};
use systole_store::channels::ChannelFields;
use systole_store::decide::SettingsIds;
use systole_store::deliveries::{Attempt, Outgoing};
use systole_store::log::Batch;
use systole_store::monitors::{MonitorFields, StoredToken};
use systole_store::record::{BatchPacker, CheckinRecord, Method};
use systole_store::{DEFAULT_PROJECT, Store};

pub const START: Time = Time::from_seconds(1_800_000_000);

pub struct Filled {
    pub store: Store,
    pub now: Time,
    /// The channel of monitors that name none.
    pub channel: i64,
    pub epoch: i64,
    pub engine: Engine,
    settings: SettingsIds,
    stream: u32,
    seq: u64,
    keys: u64,
}

pub fn channel(name: &str) -> ChannelFields {
    ChannelFields {
        name: name.to_owned(),
        kind: "webhook".to_owned(),
        config_cipher: vec![0, 1, 255],
        default: true,
        system: false,
        remind_every: 0,
        digest: false,
        set: None,
        unsubscribed_cipher: None,
    }
}

pub fn monitor(name: &str) -> (MonitorFields, StoredToken) {
    let schedule = Schedule::Every(Span::from_seconds(3_600));
    let fields = MonitorFields {
        name: name.to_owned(),
        slug: name.to_lowercase().replace(' ', "-"),
        description: String::new(),
        severity: "critical".to_owned(),
        labels: Vec::new(),
        owner: String::new(),
        runbook_url: String::new(),
        channels: None,
        set: None,
        settings: Arc::new(Settings::new(schedule, Span::from_seconds(60))),
    };
    let token = StoredToken {
        hash: name.bytes().cycle().take(32).collect(),
        cipher: name.as_bytes().to_vec(),
    };
    (fields, token)
}

pub fn attempt(outcome: &str) -> Attempt {
    Attempt {
        at: START,
        latency: Span::from_millis(12),
        outcome: outcome.to_owned(),
        status: Some(503),
        detail: "what the other side said".to_owned(),
    }
}

impl Filled {
    pub async fn new(store: Store) -> Filled {
        store.install(START, "key", b"check").await.unwrap();
        let fields = channel("people");
        let made = store.create_channel(START, DEFAULT_PROJECT, &fields).await;
        let channel = made.unwrap();
        let stream = store.open_stream("test", START).await.unwrap();
        let epoch = if store.is_shared() {
            store.acquire_lease(stream).await.unwrap().unwrap()
        } else {
            store.take_lease(stream).await.unwrap()
        };
        let booted = store.boot().await.unwrap();
        Filled {
            engine: Engine::boot(booted.boot),
            settings: booted.settings,
            store,
            now: START,
            channel,
            epoch,
            stream,
            seq: 0,
            keys: 0,
        }
    }

    /// Makes a monitor, which reports a failure.
    pub async fn fail(&mut self, name: &str) -> (MonitorId, Vec<Outgoing>) {
        let (ids, row) = self
            .store
            .create_monitors(self.now, "me", DEFAULT_PROJECT, &[monitor(name)])
            .await
            .unwrap();
        assert_eq!(row.records.len(), 1);
        let outgoing = self.report(ids[0], Signal::Fail, "it broke\0here").await;
        (ids[0], outgoing)
    }

    /// A check-in, and what is decided of it.
    pub async fn report(
        &mut self,
        monitor: MonitorId,
        signal: Signal,
        body: &str,
    ) -> Vec<Outgoing> {
        self.now = self.now + Span::from_seconds(1);
        let mut packer = BatchPacker::new(self.now);
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
            body: body.as_bytes().to_vec(),
            body_truncated: false,
        });
        self.seq += 1;
        let batch = Batch {
            stream: self.stream,
            seq: self.seq,
            at: self.now,
            count: 1,
            body: packer.finish(),
        };
        let now = self.now;
        self.store.append(&batch, || now).await.unwrap();
        self.decide().await
    }

    /// What a person does.
    pub async fn command(&mut self, monitor: MonitorId, action: Action) -> Vec<Outgoing> {
        self.now = self.now + Span::from_seconds(1);
        let command = Command {
            at: self.now,
            monitor: Some(monitor),
            by: "me".to_owned(),
            action,
        };
        self.store.command(command).await.unwrap();
        self.decide().await
    }

    async fn decide(&mut self) -> Vec<Outgoing> {
        let mut outgoing = Vec::new();
        loop {
            let mut deciding = self.store.begin_decision(self.epoch).await.unwrap();
            for row in deciding.tail(self.engine.vector(), 1_000).await.unwrap() {
                self.engine.observe(&row).unwrap();
            }
            let Some(decision) = self.engine.decide(self.now) else {
                deciding.rollback().await.unwrap();
                return outgoing;
            };
            let keys = &mut self.keys;
            let key = || {
                *keys += 1;
                format!("key {keys}")
            };
            let written = deciding.write(&decision, &mut self.settings, key).await;
            outgoing.extend(written.unwrap());
            deciding.commit().await.unwrap();
            self.engine.install(decision);
        }
    }

    /// Writes all states, and the checkpoint.
    pub async fn sweep(&mut self) {
        self.engine.begin_pass();
        while let Some(sweep) = self.engine.sweep(1) {
            self.store
                .sweep(self.epoch, &sweep, &mut self.settings)
                .await
                .unwrap();
            self.engine.swept(&sweep);
        }
    }

    /// What is to be said beside the engine's news.
    pub async fn follow_up(&mut self) -> systole_store::decide::FollowedUp {
        let mut deciding = self.store.begin_decision(self.epoch).await.unwrap();
        let keys = &mut self.keys;
        let key = || {
            *keys += 1;
            format!("key {keys}")
        };
        let followed = deciding
            .follow_up(self.now, self.engine.version(), key)
            .await
            .unwrap();
        deciding.commit().await.unwrap();
        followed
    }
}
