//! Memory from what was persisted: each row with its base, the position up to which it was folded.

use std::collections::{BTreeMap, BinaryHeap, HashSet};

use super::standby::Standby;
use super::{Engine, Monitor, MonitorId, Position, Vector};
use crate::outage::{Outage, Outages};

/// One consistent reading of what was persisted.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// The cut of the checkpoint, and the vector from which on the log is read again.
    pub checkpoint: (u64, Vector),
    /// The vectors of later cuts.
    pub cuts: Vec<(u64, Vector)>,
    /// The monitors' rows.
    pub monitors: Vec<BootedMonitor>,
    /// Our outages.
    pub outages: Vec<Outage>,
    /// The next free incident number.
    pub next_incident: u64,
}

/// A monitor's row.
#[derive(Clone, Debug)]
pub struct BootedMonitor {
    /// Its number.
    pub id: MonitorId,
    /// The version of the memory that wrote it.
    pub cut: u64,
    /// Its state.
    pub monitor: Monitor,
}

/// Up to where each row was folded, until the log has been read beyond.
#[derive(Debug)]
pub(super) struct Bases {
    vectors: Vec<Vector>,
    of: Vec<u32>,
    newest: Vector,
}

impl Engine {
    /// A memory as of the checkpoint. The rows of the log after [`Engine::vector`] must be observed next, up to the
    /// head, before anything is decided.
    pub fn boot(boot: Boot) -> Engine {
        let (checkpoint_cut, checkpoint) = boot.checkpoint;
        let mut vectors = vec![checkpoint.clone()];
        let mut index_of_cut = BTreeMap::new();
        let mut newest = checkpoint.clone();
        let mut version = checkpoint_cut;
        for (cut, vector) in boot.cuts {
            version = version.max(cut);
            if cut < checkpoint_cut {
                continue;
            }
            for (stream, reached) in &vector {
                let known = newest.entry(*stream).or_insert(*reached);
                if reached.seq > known.seq {
                    *known = *reached;
                }
            }
            index_of_cut.insert(cut, u32::try_from(vectors.len()).unwrap_or(0));
            vectors.push(vector);
        }
        let mut outages = Outages::default();
        for outage in boot.outages {
            outages.add(outage);
        }
        let mut engine = Engine {
            places: Vec::new(),
            count: 0,
            standby: Standby::since(&checkpoint),
            vector: checkpoint,
            version,
            timers: BinaryHeap::with_capacity(boot.monitors.len()),
            backlog: BTreeMap::new(),
            dirty: Vec::new(),
            outages,
            unsaved_outages: Vec::new(),
            next_incident: boot.next_incident.max(1),
            bases: None,
            pass: None,
            finished: BTreeMap::new(),
            settings: HashSet::new(),
        };
        let highest = boot
            .monitors
            .iter()
            .map(|booted| booted.id as usize + 1)
            .max()
            .unwrap_or(0);
        engine.places.reserve_exact(highest);
        engine.places.resize_with(highest, || None);
        let mut of = vec![0; highest];
        for BootedMonitor {
            id,
            cut,
            mut monitor,
        } in boot.monitors
        {
            monitor.settings = engine.shared(&monitor.settings);
            of[id as usize] = index_of_cut.get(&cut).copied().unwrap_or(0);
            engine.put(id, monitor, false);
        }
        engine.bases = Some(Bases {
            vectors,
            of,
            newest,
        });
        engine.forget_passed_bases();
        engine
    }

    /// A record is folded into a monitor only if its row's base does not hold it yet.
    pub(super) fn is_above_base(&self, id: MonitorId, position: Position) -> bool {
        let booted = || {
            let bases = self.bases.as_ref()?;
            let base = bases.of.get(id as usize)?;
            Some(&bases.vectors[*base as usize])
        };
        let Some(base) = self.reloaded_base(id).or_else(booted) else {
            return true;
        };
        base.get(&position.stream())
            .is_none_or(|reached| position.seq() > reached.seq)
    }

    pub(super) fn forget_passed_bases(&mut self) {
        self.forget_passed_reloads();
        let passed = |bases: &Bases| {
            bases.newest.iter().all(|(stream, base)| {
                self.vector
                    .get(stream)
                    .is_some_and(|reached| reached.seq >= base.seq)
            })
        };
        if self.bases.as_ref().is_some_and(passed) {
            self.bases = None;
        }
    }
}
