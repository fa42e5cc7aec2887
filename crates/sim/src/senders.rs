//! Who sends check-ins, and what people do.

use std::sync::Arc;

use systole_core::engine::{Action, Command, MonitorId, Record};
use systole_core::heartbeat::{Checkin, RunId, Settings, Signal};
use systole_core::maintenance::{Selector, When, Window, Windows};
use systole_core::schedule::{Dialect, Schedule};
use systole_core::time::{Span, Time};

use crate::world::{Event, Knock, Lane, MS, Request, S, World};

/// Counts every check-in: a state tells how many were folded.
pub const COUNTER: MonitorId = 1;
/// Opens and resolves by failures alone: every event is known beforehand.
pub const FLAPPER: MonitorId = 2;
const MONITORS_MOST: usize = 9;

/// How a sender behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Only failures.
    Counter,
    /// Failures and successes at random.
    Flapper,
    /// A success when it is due, often at the last moment.
    Punctual,
    /// Runs with an id: a start, and an end.
    Runs,
}

/// A sender.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Whom it reports for.
    pub monitor: MonitorId,
    role: Role,
    run: Option<(RunId, Time)>,
    known: bool,
}

impl Knock {
    /// As the log has it.
    pub const fn record(&self) -> Record {
        Record::Checkin(self.monitor, self.checkin)
    }
}

impl World {
    fn settings(&mut self, role: Role) -> Settings {
        let every = |seconds| Schedule::Every(Span::from_seconds(seconds));
        let grace = Span::from_millis(self.rng.between(2_000, 15_000));
        match role {
            Role::Counter => Settings {
                fail_threshold: u16::MAX,
                ..Settings::new(every(400 * 86_400), grace)
            },
            Role::Flapper => Settings {
                fail_threshold: 3,
                recovery_threshold: if self.rng.chance(500) { 2 } else { 1 },
                ..Settings::new(every(400 * 86_400), grace)
            },
            Role::Punctual if self.rng.chance(250) => {
                let minutely = Schedule::cron("* * * * *", "UTC", Dialect::Classic);
                Settings::new(minutely.unwrap_or_else(|_| every(60)), grace)
            }
            Role::Punctual => {
                let period = self.rng.between(12, 60);
                let threshold = if self.rng.chance(300) { 2 } else { 1 };
                Settings {
                    fail_threshold: threshold,
                    ..Settings::new(every(period), grace)
                }
            }
            Role::Runs => {
                let period = self.rng.between(15, 50);
                let start_grace = self.rng.chance(300).then_some(grace);
                let max_runtime = Some(Span::from_millis(self.rng.between(3_000, 20_000)));
                let fail_threshold = if self.rng.chance(300) { 2 } else { 1 };
                Settings {
                    fail_threshold,
                    max_runtime,
                    start_grace,
                    ..Settings::new(every(period), grace)
                }
            }
        }
    }

    /// The monitors that there are from the beginning.
    pub fn populate(&mut self) {
        let roles = [
            Role::Counter,
            Role::Flapper,
            Role::Punctual,
            Role::Punctual,
            Role::Punctual,
            Role::Runs,
        ];
        for (monitor, role) in (1..).zip(roles) {
            self.add_sender(monitor, role);
        }
        self.after(S, Event::Person);
        let first = self.rng.between(20 * S, 120 * S);
        self.after(first, Event::Window);
    }

    fn add_sender(&mut self, monitor: MonitorId, role: Role) {
        let sender = self.senders.len();
        self.senders.push(Sender {
            monitor,
            role,
            run: None,
            known: false,
        });
        self.after(2 * S, Event::Sender(sender));
    }

    /// A sender's time has come.
    pub fn sender(&mut self, sender: usize) {
        let Sender {
            monitor,
            role,
            run,
            known,
        } = self.senders[sender].clone();
        let Some(settings) = self.db.settings.get(&monitor) else {
            if !known {
                self.after(S, Event::Sender(sender));
            }
            return;
        };
        let limit = settings.max_runtime.unwrap_or(settings.grace).as_micros();
        self.senders[sender].known = true;
        let signal = match role {
            Role::Counter => Signal::Fail,
            Role::Flapper if self.rng.chance(550) => Signal::Fail,
            Role::Punctual if self.rng.chance(60) => Signal::Exit(3),
            Role::Runs if run.is_none() && self.rng.chance(800) => Signal::Start,
            Role::Runs if self.rng.chance(80) => Signal::Fail,
            _ => Signal::Success,
        };
        let now = self.database_now();
        let run = match (role, signal) {
            (Role::Runs, Signal::Start) => Some((u128::from(self.number()), now)),
            _ => run,
        };
        self.senders[sender].run = if signal == Signal::Start { run } else { None };
        let checkin = Checkin {
            at: now,
            signal,
            run: run.map(|(id, _)| id),
        };
        self.knocks(sender, checkin, 0);
        match role {
            Role::Counter => {
                let next = self.rng.between(S / 2, 8 * S);
                self.after(next, Event::Sender(sender));
            }
            Role::Flapper => {
                let next = self.rng.between(S, 12 * S);
                self.after(next, Event::Sender(sender));
            }
            Role::Runs if signal == Signal::Start => {
                let takes = match self.rng.below(10) {
                    0..=5 => self.rng.between(limit / 5, limit * 9 / 10),
                    6 | 7 => limit + self.rng.between(-40 * MS, 40 * MS),
                    _ => limit + self.rng.between(2 * S, 30 * S),
                };
                self.after(takes, Event::Sender(sender));
            }
            Role::Punctual | Role::Runs => {}
        }
    }

    fn knocks(&mut self, sender: usize, checkin: Checkin, tries: u32) {
        let monitor = self.senders[sender].monitor;
        let knock = Knock {
            uid: self.number(),
            sender,
            monitor,
            checkin,
            tries,
        };
        let delay = self.rng.between(200, 3 * MS);
        self.after(delay, Event::Knock(knock));
    }

    /// A check-in reaches a process, if there is one that listens.
    pub fn knock(&mut self, mut knock: Knock) {
        let listens =
            |it: &crate::process::Process| it.alive && it.stream.is_some() && it.knows_time();
        let mut living = self.living();
        living.retain(|process| listens(&self.processes[*process]));
        // Whose every check-in counts goes to one replica as long as that listens: two replicas need not agree on the order of
        // what they receive at one moment, and nothing could be said of a counter then.
        let chosen = if matches!(knock.monitor, COUNTER | FLAPPER) {
            let of = knock.monitor as usize;
            let wanted = self.active.get(of % self.active.len()).copied().flatten();
            living
                .iter()
                .copied()
                .find(|process| Some(*process) == wanted)
                .or(living.first().copied())
        } else {
            self.rng.pick(&living)
        };
        let Some(process) = chosen.or_else(|| self.processes.iter().rposition(listens)) else {
            return self.after(MS, Event::Heard(knock, false));
        };
        let resumed = self.processes[process].stopped_until;
        if resumed > self.now {
            // It waits at the door of a process that stands still; its sender waits ten seconds.
            if resumed - self.now > 10 * S {
                self.after(10 * S, Event::Heard(knock, false));
                if self.rng.chance(700) {
                    return;
                }
                knock.sender = usize::MAX;
            }
            return self.at(resumed, Event::Knock(knock));
        }
        knock.checkin.at = self.stamp(process);
        self.processes[process].queue.push_back(knock);
        self.say(|| {
            format!(
                "process {process} takes {} of monitor {}: {:?}",
                knock.uid, knock.monitor, knock.checkin
            )
        });
        if !self.rules.hold(crate::rules::Rule::AckAfterCommit) {
            self.acknowledged(knock);
        }
        self.write(process);
    }

    /// A sender learns what became of its check-in.
    pub fn heard(&mut self, knock: Knock, acknowledged: bool) {
        let Some(sender) = self.senders.get(knock.sender) else {
            return;
        };
        let role = sender.role;
        if !acknowledged && knock.tries < 6 {
            let pause = self.rng.between(S, 4 * S);
            let sender = knock.sender;
            self.knocks_later(pause, sender, knock);
            return;
        }
        let ends = matches!(
            knock.checkin.signal,
            Signal::Success | Signal::Fail | Signal::Exit(_)
        );
        if ends && matches!(role, Role::Punctual | Role::Runs) {
            let next = self.next_time(knock.sender, knock.checkin.at);
            self.after(next, Event::Sender(knock.sender));
        }
    }

    fn knocks_later(&mut self, pause: i64, sender: usize, old: Knock) {
        let knock = Knock {
            uid: self.number(),
            sender,
            tries: old.tries + 1,
            ..old
        };
        self.after(pause, Event::Knock(knock));
    }

    /// How long a sender waits after an end that was stamped `last`: the last moment is the most interesting.
    fn next_time(&mut self, sender: usize, last: Time) -> i64 {
        let monitor = self.senders[sender].monitor;
        let Some(settings) = self.db.settings.get(&monitor).cloned() else {
            return S;
        };
        let slot = settings.schedule.next_after(last).unwrap_or(last);
        let now = self.database_now().as_micros();
        let grace = settings.grace.as_micros();
        let until = |at: i64| (at - now).clamp(10 * MS, 200 * S);
        let deadline = slot.as_micros() + grace;
        let calm = self.now >= self.calm_from;
        match self.rng.below(100) {
            0..45 => until(deadline - self.rng.between(50 * MS, grace)),
            _ if calm => until(deadline - self.rng.between(grace / 2, grace)),
            45..68 => until(deadline + self.rng.between(-40 * MS, 40 * MS)),
            68..78 => until(deadline + self.rng.between(900 * MS, 1_100 * MS)),
            78..88 => until(slot.as_micros() + self.rng.between(-S, S)),
            88..95 => until(deadline + self.rng.between(2 * S, 40 * S)),
            _ => until(deadline + self.rng.between(30 * S, 90 * S)),
        }
    }

    /// A person does something, through the process that listens.
    pub fn person(&mut self) {
        let missing = self
            .senders
            .iter()
            .map(|sender| (sender.monitor, sender.role))
            .find(|(monitor, _)| {
                !self.db.settings.contains_key(monitor) && self.truth.told(*monitor).is_empty()
            });
        let pause = if missing.is_some() {
            S / 2
        } else {
            self.rng.between(4 * S, 40 * S)
        };
        self.after(pause, Event::Person);
        let mut living = self.living();
        living.retain(|process| self.processes[*process].is_able(self.now));
        let Some(process) = self.rng.pick(&living) else {
            return;
        };
        let (monitor, action) = match missing {
            Some((monitor, role)) => (monitor, Action::Create(Arc::new(self.settings(role)))),
            None if self.now >= self.calm_from => return,
            None => {
                let Some(chosen) = self.choose_action() else {
                    return;
                };
                chosen
            }
        };
        self.stats.commands += 1;
        let at = self.stamp(process);
        self.say(|| format!("a person: monitor {monitor} {action:?}"));
        let command = Command {
            at,
            monitor: Some(monitor),
            by: "somebody".to_owned(),
            action,
        };
        self.call(process, Lane::Free, Request::Command(command));
    }

    /// A person makes a maintenance window, or ends one early.
    pub fn window(&mut self) {
        if self.now >= self.calm_from {
            return;
        }
        let pause = self.rng.between(20 * S, 120 * S);
        self.after(pause, Event::Window);
        let now = self.database_now();
        let open = self
            .windows
            .iter_mut()
            .find(|window| window.occurrence_at(now).is_some());
        match open {
            Some(window) if self.rng.chance(600) => window.ended_at = Some(now),
            _ => {
                let start = now + Span::from_micros(self.rng.between(-S, 20 * S));
                let end = start + Span::from_micros(self.rng.between(60 * S, 120 * S));
                let last = u32::try_from(self.senders.len()).unwrap_or(1);
                let monitors = (1..=last).filter(|_| self.rng.chance(500)).collect();
                let Ok(when) = When::once(start, end) else {
                    return;
                };
                self.windows.push(Window {
                    name: format!("window {}", self.windows.len()),
                    selector: Selector {
                        monitors,
                        ..Selector::default()
                    },
                    when,
                    ended_at: None,
                });
                self.stats.windows += 1;
            }
        }
        self.db.windows = Windows::new(self.windows.clone());
    }

    fn choose_action(&mut self) -> Option<(MonitorId, Action)> {
        let choice = self.rng.below(100);
        if choice < 40 {
            let open: Vec<(u64, MonitorId)> = self
                .db
                .incidents
                .iter()
                .filter(|(_, row)| {
                    row.monitor != FLAPPER
                        && !matches!(row.phase, systole_core::incident::Phase::Resolved(_))
                })
                .map(|(number, row)| (*number, row.monitor))
                .collect();
            let (incident, monitor) = self.rng.pick(&open)?;
            let note = Some("on it".to_owned());
            let action = match choice {
                0..20 => Action::Acknowledge { incident, note },
                20..35 => Action::Resolve { incident, note },
                _ => Action::Note {
                    incident,
                    note: "hm".to_owned(),
                },
            };
            return Some((monitor, action));
        }
        let tunable: Vec<usize> = (0..self.senders.len())
            .filter(|sender| {
                let sender = &self.senders[*sender];
                matches!(sender.role, Role::Punctual | Role::Runs)
                    && self.db.settings.contains_key(&sender.monitor)
            })
            .collect();
        if choice >= 90 {
            if self.senders.len() < MONITORS_MOST {
                let monitor = u32::try_from(self.senders.len()).ok()? + 1;
                self.add_sender(
                    monitor,
                    if choice < 95 {
                        Role::Punctual
                    } else {
                        Role::Runs
                    },
                );
            }
            return None;
        }
        let sender = self.rng.pick(&tunable)?;
        let Sender { monitor, role, .. } = self.senders[sender].clone();
        let action = match choice {
            40..65 => Action::Edit(Arc::new(self.settings(role))),
            65..73 => Action::Pause,
            73..84 => Action::Resume,
            _ => Action::Delete,
        };
        Some((monitor, action))
    }
}
