//! What happens: drawn from the seed, one after the other.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::REPLICAS;
use super::fleet::{Fleet, name};
use super::proxy::Way;
use super::standing::Loss;
use crate::token::Random;

/// One event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    Kill(usize),
    Terminate(usize),
    Pause(usize, Duration),
    Cut(usize, Way, Duration),
    CutAll(Way, Duration),
    /// The database crashes and is started again.
    Restart,
    /// The follower is away, so that nothing can be committed.
    FollowerAway(Duration),
    /// The follower becomes the primary; the former one has crashed, or still runs for a while.
    Promote {
        crashed: bool,
    },
}

const WAYS: [Way; 4] = [Way::Silent, Way::NoAnswers, Way::NoStatements, Way::Refused];

impl Event {
    pub fn draw(random: &mut Random, fleet: &Fleet) -> Event {
        let seconds = |random: &mut Random, from: u64, to: u64| {
            Duration::from_millis(from * 1_000 + random.below((to - from) * 1_000))
        };
        let way = WAYS[usize::try_from(random.below(4)).unwrap_or(0)];
        // Every second time whoever decides: that is where the most can go wrong.
        let decider = (0..REPLICAS).find(|replica| fleet.standings.decides(*replica));
        let any = usize::try_from(random.below(REPLICAS as u64)).unwrap_or(0);
        let replica = decider.filter(|_| random.below(2) == 0).unwrap_or(any);
        match random.below(20) {
            0..4 => Event::Kill(replica),
            4..8 => Event::Terminate(replica),
            8..11 => Event::Pause(replica, seconds(random, 3, 20)),
            11..15 => Event::Cut(replica, way, seconds(random, 3, 18)),
            15 => Event::CutAll(way, seconds(random, 2, 14)),
            16 => Event::Restart,
            17 => Event::FollowerAway(seconds(random, 1, 12)),
            _ => Event::Promote {
                crashed: random.below(2) == 0,
            },
        }
    }

    /// Something that gives deadlines more time. A stop in order costs nothing.
    pub const fn disturbs(self) -> bool {
        !matches!(self, Event::Terminate(_))
    }

    pub fn words(self, fleet: &Fleet) -> String {
        let who = |replica: usize| {
            let part = if fleet.standings.decides(replica) {
                "decides"
            } else {
                "stands by"
            };
            format!("{} ({part})", name(replica))
        };
        match self {
            Event::Kill(replica) => format!("kill -9 {}", who(replica)),
            Event::Terminate(replica) => format!("SIGTERM {}", who(replica)),
            Event::Pause(replica, length) => format!("SIGSTOP {} for {length:.1?}", who(replica)),
            Event::Cut(replica, way, length) => {
                format!(
                    "cut {} from the database, {way:?}, for {length:.1?}",
                    who(replica)
                )
            }
            Event::CutAll(way, length) => {
                format!("cut all from the database, {way:?}, for {length:.1?}")
            }
            Event::Restart => "the database crashes and starts again".to_owned(),
            Event::FollowerAway(length) => format!("the follower is away for {length:.1?}"),
            Event::Promote { crashed: true } => {
                "the database crashes, its follower is promoted".to_owned()
            }
            Event::Promote { crashed: false } => {
                "the follower is promoted while the former primary runs".to_owned()
            }
        }
    }

    /// Lets it happen; it is over when this returns.
    pub fn happen(self, fleet: &mut Fleet) -> Result<()> {
        let loss = |fleet: &Fleet, replica, loss| {
            if fleet.standings.decides(replica) {
                fleet.standings.measure(loss);
            }
        };
        match self {
            Event::Kill(replica) => {
                loss(fleet, replica, Loss::Fault);
                fleet.kill(replica)?;
                fleet.start(replica)?;
            }
            Event::Terminate(replica) => {
                loss(fleet, replica, Loss::Planned);
                let took = fleet.stop(replica)?;
                fleet.note(&format!("it stopped within {took:.2?}"));
                fleet.start(replica)?;
            }
            Event::Pause(replica, length) => {
                loss(fleet, replica, Loss::Fault);
                fleet.pause(replica)?;
                std::thread::sleep(length);
                fleet.resume(replica)?;
            }
            Event::Cut(replica, way, length) => {
                loss(fleet, replica, Loss::Fault);
                fleet.cut(replica, way);
                std::thread::sleep(length);
                fleet.heal(replica);
            }
            Event::CutAll(way, length) => {
                fleet.standings.unable();
                for replica in 0..REPLICAS {
                    fleet.cut(replica, way);
                }
                std::thread::sleep(length);
                for replica in 0..REPLICAS {
                    fleet.heal(replica);
                }
                fleet.standings.able();
            }
            Event::Restart => {
                fleet.standings.unable();
                fleet.cluster.crash()?;
                fleet.cluster.start_again()?;
                // It waits for its follower with every commit.
                fleet.cluster.start_follower()?;
                fleet.standings.able();
            }
            Event::FollowerAway(length) => {
                fleet.standings.unable();
                fleet.cluster.crash_follower()?;
                std::thread::sleep(length);
                fleet.cluster.start_follower()?;
                fleet.standings.able();
            }
            Event::Promote { crashed } => promote(fleet, crashed)?,
        }
        Ok(())
    }
}

fn promote(fleet: &mut Fleet, crashed: bool) -> Result<()> {
    fleet.standings.unable();
    if crashed {
        fleet.cluster.crash()?;
    }
    fleet.cluster.promote()?;
    let begun = Instant::now();
    fleet.follow()?;
    fleet.standings.able();
    fleet.note("all ways lead to the promoted one");
    fleet.cluster.replace()?;
    fleet.note(&format!("it has a follower after {:.1?}", begun.elapsed()));
    Ok(())
}
