//! What breaks.

use crate::world::{Event, MS, S, World};

impl World {
    /// Something breaks now, and something else later.
    pub fn fault(&mut self) {
        if self.now >= self.calm_from {
            return;
        }
        let between = self.weather.between;
        let next = self.rng.between(between / 4, between * 7 / 4);
        self.after(next, Event::Fault);
        match self.rng.below(100) {
            0..20 => self.database_outage(),
            20..32 => self.full_disk(),
            32..42 => self.wall_step(),
            42..50 => self.database_step(),
            _ => {
                let living = self.living();
                let leads = |process: &usize| self.processes[*process].leads();
                let leader = living.iter().copied().find(leads);
                // The one that decides is the most interesting.
                let chosen = match leader {
                    Some(leader) if self.rng.chance(400) => Some(leader),
                    _ => self.rng.pick(&living),
                };
                if let Some(process) = chosen {
                    self.break_process(process);
                }
            }
        }
    }

    /// A process breaks: it ends, stands still, or is cut off.
    pub fn break_process(&mut self, process: usize) {
        if !self.processes[process].alive || self.now >= self.calm_from {
            return;
        }
        let replica = self.processes[process].replica;
        let active = (self.active[replica] == Some(process)).then_some(replica);
        let most = if self.is_shared { 13 } else { 10 };
        match self.rng.below(most) {
            0..4 => {
                self.stats.crashes += 1;
                self.crash(process);
                if let Some(replica) = active {
                    let down = self.span_of_trouble(25 * S);
                    self.trouble(down);
                    self.after(down, Event::Start(replica));
                }
            }
            4..7 => {
                self.stats.stops += 1;
                let still = self.span_of_trouble(100 * S);
                self.say(|| format!("process {process} stands still for {} ms", still / MS));
                let it = &mut self.processes[process];
                it.stopped_until = it.stopped_until.max(self.now + still);
                self.trouble(still);
                self.replace(active, still);
            }
            10 => {
                self.stats.half_open += 1;
                let cut = self.span_of_trouble(30 * S);
                self.say(|| format!("process {process} hears nothing for {} ms", cut / MS));
                let it = &mut self.processes[process];
                it.deaf_until = it.deaf_until.max(self.now + cut);
                self.trouble(cut);
            }
            11..13 => {
                self.stats.hand_overs += 1;
                self.trouble(3 * S);
                self.say(|| format!("process {process} is asked to leave"));
                self.processes[process].is_leaving = true;
            }
            _ => {
                self.stats.cuts += 1;
                let cut = self.span_of_trouble(30 * S);
                self.say(|| format!("process {process} is cut off for {} ms", cut / MS));
                let it = &mut self.processes[process];
                it.cut_until = it.cut_until.max(self.now + cut);
                self.trouble(cut);
                self.replace(active, cut);
            }
        }
    }

    /// Somebody starts another process in place of one that does not answer.
    fn replace(&mut self, active: Option<usize>, unheard: i64) {
        if let Some(replica) = active
            && unheard > S
            && self.rng.chance(500)
        {
            let after = self.rng.between(S, 20 * S).min(unheard);
            self.after(after, Event::Start(replica));
        }
    }

    fn span_of_trouble(&mut self, most: i64) -> i64 {
        match self.rng.below(3) {
            0 => self.rng.between(5 * MS, 800 * MS),
            1 => self.rng.between(S, 12 * S),
            _ => self.rng.between(5 * S, most),
        }
    }

    fn trouble(&mut self, span: i64) {
        self.trouble_until = self.trouble_until.max(self.now + span);
    }

    fn database_outage(&mut self) {
        self.stats.database_outages += 1;
        let down = self.span_of_trouble(45 * S);
        self.say(|| format!("nobody reaches the database for {} ms", down / MS));
        self.down_until = self.now + down;
        self.trouble(down);
    }

    fn full_disk(&mut self) {
        self.stats.full_disks += 1;
        let full = self.span_of_trouble(40 * S);
        self.say(|| format!("the disk is full for {} ms", full / MS));
        self.full_until = self.now + full;
        self.trouble(full);
    }

    fn wall_step(&mut self) {
        self.stats.wall_steps += 1;
        let hour = 3_600 * S;
        let step = if self.rng.chance(500) { hour } else { -hour };
        let replica = self.rng.pick(&(0..self.active.len()).collect::<Vec<_>>());
        self.say(|| format!("wall clocks of replica {replica:?} step by {} s", step / S));
        for it in &mut self.processes {
            if Some(it.replica) == replica {
                it.wall += step;
            }
        }
    }

    fn database_step(&mut self) {
        self.stats.database_steps += 1;
        let step = if self.rng.chance(800) {
            self.rng.between(12 * S, 120 * S)
        } else {
            3_600 * S
        };
        let before = self.database_now();
        self.step += step;
        self.say(|| format!("the database's clock steps by {} ms", step / MS));
        self.truth.could_not_be_reached(before, self.database_now());
        self.receiver.stepped = self.now;
        self.trouble(5 * S);
    }
}
