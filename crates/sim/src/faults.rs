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
                if let Some(active) = self.active {
                    self.break_process(active);
                }
            }
        }
    }

    /// A process breaks: it ends, stands still, or is cut off.
    pub fn break_process(&mut self, process: usize) {
        if !self.processes[process].alive || self.now >= self.calm_from {
            return;
        }
        let active = self.active == Some(process);
        match self.rng.below(10) {
            0..4 => {
                self.stats.crashes += 1;
                self.crash(process);
                if active {
                    let down = self.span_of_trouble(25 * S);
                    self.trouble(down);
                    self.after(down, Event::Start);
                }
            }
            4..7 => {
                self.stats.stops += 1;
                let still = self.span_of_trouble(100 * S);
                self.say(|| format!("process {process} stands still for {} ms", still / MS));
                self.processes[process].stopped_until = self.now + still;
                self.trouble(still);
                self.replace(active, still);
            }
            _ => {
                self.stats.cuts += 1;
                let cut = self.span_of_trouble(30 * S);
                self.say(|| format!("process {process} is cut off for {} ms", cut / MS));
                self.processes[process].cut_until = self.now + cut;
                self.trouble(cut);
                self.replace(active, cut);
            }
        }
    }

    /// Somebody starts another process in place of one that does not answer.
    fn replace(&mut self, active: bool, unheard: i64) {
        if active && unheard > S && self.rng.chance(500) {
            let after = self.rng.between(S, 20 * S).min(unheard);
            self.after(after, Event::Start);
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
        self.say(|| format!("wall clocks step by {} s", step / S));
        for it in &mut self.processes {
            it.wall += step;
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
