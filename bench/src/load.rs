//! The load generator: one thread, one epoll, no pipelining, always bounded.
//!
//! A closed loop keeps every connection busy. An open loop sends at a rate whatever the server does, and measures from
//! the instant a request was meant to leave, so that a stall counts against every request it delayed.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{Timespec, epoll};

use crate::histogram::Histogram;
use crate::response::{self, Answer};
use crate::token::{Random, run_id, token};

/// How often a run looks up, to see whether it is to stop.
const LOOK_UP: Duration = Duration::from_millis(50);

/// How long answers are waited for once nothing new is sent.
const DRAIN: Duration = Duration::from_secs(5);

/// When requests leave.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// As soon as a connection is free.
    Closed,
    /// So many a second, evenly spaced.
    Open(f64),
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Connections are spread evenly over these.
    pub addresses: Vec<SocketAddr>,
    pub connections: usize,
    pub pace: Pace,
    /// Whether a connection carries more than one request.
    pub keep_alive: bool,
    pub duration: Duration,
    /// End after so many answers even if time is left.
    pub requests: u64,
    /// Which tokens: those of this seed, below this count.
    pub seed: u64,
    pub monitors: u32,
    /// Picks tokens; differs between runs so that they do not repeat each other.
    pub run: u64,
    /// Give every request its own run id, numbered from here, and keep the numbers of those acknowledged.
    pub number_from: Option<u64>,
    /// Whole requests to send instead, picked at random: for servers that are not ours.
    pub requests_of: Option<Arc<[Vec<u8>]>>,
}

impl Plan {
    pub fn closed(addresses: Vec<SocketAddr>, connections: usize, duration: Duration) -> Plan {
        Plan {
            addresses,
            connections,
            pace: Pace::Closed,
            keep_alive: true,
            duration,
            requests: u64::MAX,
            seed: crate::SEED,
            monitors: 1,
            run: 0,
            number_from: None,
            requests_of: None,
        }
    }
}

/// What came of a run.
pub struct Outcome {
    pub elapsed: Duration,
    /// Latencies of the good answers: 200, of servers that are not ours any 2xx.
    pub latency: Histogram,
    /// Other answers, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Connections that broke under a request, and answers that were not HTTP.
    pub broken: u64,
    /// Requests due or sent, and not answered when the run gave up.
    pub unanswered: u64,
    /// Numbers of the requests answered 200, where the plan asked for them.
    pub acknowledged: Vec<u64>,
    /// The first number not used.
    pub next_number: u64,
}

impl Outcome {
    pub fn per_second(&self) -> f64 {
        let count = self.latency.count() as f64;
        count / self.elapsed.as_secs_f64()
    }

    /// An error unless every request was answered 200.
    pub fn clean(self, what: &str) -> Result<Outcome> {
        if self.latency.count() == 0
            || !self.refused.is_empty()
            || self.broken + self.unanswered > 0
        {
            bail!(
                "{what}: of the pings {} were answered 200, by status {:?} were not, {} broke, {} were not answered; \
                 a figure needs every one answered 200",
                self.latency.count(),
                self.refused,
                self.broken,
                self.unanswered
            );
        }
        Ok(self)
    }
}

/// Runs `plan` to its end, or until `stop` is set, or until no connection can be made any more.
pub fn run(plan: &Plan, stop: &AtomicBool) -> Result<Outcome> {
    let mut generator = Generator::new(plan)?;
    let started = Instant::now();
    let end = started + plan.duration;
    let mut due = started;
    let mut events = Vec::with_capacity(plan.connections);
    let mut sending_ended = None;
    loop {
        let now = Instant::now();
        if now >= end
            || stop.load(Ordering::Relaxed)
            || generator.outcome.latency.count() >= plan.requests
        {
            generator.sending = false;
        }
        match plan.pace {
            Pace::Closed if generator.sending => {
                for index in std::mem::take(&mut generator.idle) {
                    generator.send(index, Instant::now());
                }
            }
            Pace::Closed => {}
            Pace::Open(rate) => {
                while due <= now
                    && due < end
                    && let Some(index) = generator.idle.pop()
                {
                    generator.send(index, due);
                    due += Duration::from_secs_f64(1.0 / rate);
                }
            }
        }
        let backlog = matches!(plan.pace, Pace::Open(_)) && due < end.min(now);
        if !generator.sending && sending_ended.is_none() {
            sending_ended = Some(now);
        }
        let gave_up =
            sending_ended.is_some_and(|since| now >= since + DRAIN) || stop.load(Ordering::Relaxed);
        let finished = !generator.sending && generator.in_flight == 0 && !backlog;
        if finished || gave_up || generator.live == 0 {
            break;
        }
        let wake = match plan.pace {
            Pace::Closed if generator.sending && !generator.idle.is_empty() => now,
            Pace::Open(_) if generator.sending && !generator.idle.is_empty() => due.min(end),
            _ if generator.sending => end,
            _ => now + LOOK_UP,
        };
        generator.wait(
            &mut events,
            wake.saturating_duration_since(now).min(LOOK_UP),
        )?;
    }
    generator.outcome.elapsed = sending_ended.unwrap_or_else(Instant::now) - started;
    generator.give_up_on_the_rest(plan, due, end);
    Ok(generator.outcome)
}

struct Connection {
    stream: Option<TcpStream>,
    answer: Vec<u8>,
    filled: usize,
    intended: Instant,
    number: u64,
    waiting: bool,
}

struct Generator<'a> {
    plan: &'a Plan,
    epoll: rustix::fd::OwnedFd,
    connections: Vec<Connection>,
    /// Connections (made or not) that carry no request now.
    idle: Vec<usize>,
    live: usize,
    in_flight: usize,
    sending: bool,
    request: Vec<u8>,
    token_at: usize,
    run_id_at: usize,
    random: Random,
    outcome: Outcome,
}

impl<'a> Generator<'a> {
    fn new(plan: &'a Plan) -> Result<Generator<'a>> {
        let now = Instant::now();
        let connections: Vec<Connection> = (0..plan.connections)
            .map(|_| Connection {
                stream: None,
                answer: vec![0; 4096],
                filled: 0,
                intended: now,
                number: 0,
                waiting: false,
            })
            .collect();
        let (request, token_at, run_id_at) = template(plan);
        let mut generator = Generator {
            plan,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)
                .context("create an epoll instance")?,
            idle: (0..connections.len()).rev().collect(),
            live: connections.len(),
            connections,
            in_flight: 0,
            sending: true,
            request,
            token_at,
            run_id_at,
            random: Random::new(plan.seed ^ plan.run.wrapping_mul(0x5851_f42d_4c95_7f2d)),
            outcome: Outcome {
                elapsed: Duration::ZERO,
                latency: Histogram::new(),
                refused: BTreeMap::new(),
                broken: 0,
                unanswered: 0,
                acknowledged: Vec::new(),
                next_number: plan.number_from.unwrap_or(0),
            },
        };
        if plan.keep_alive {
            for index in 0..plan.connections {
                generator
                    .connect(index)
                    .with_context(|| format!("connect to {:?}", plan.addresses))?;
            }
        }
        Ok(generator)
    }

    fn connect(&mut self, index: usize) -> std::io::Result<()> {
        let stream = TcpStream::connect(self.plan.addresses[index % self.plan.addresses.len()])?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        epoll::add(
            &self.epoll,
            &stream,
            epoll::EventData::new_u64(index as u64),
            epoll::EventFlags::IN,
        )?;
        self.connections[index].stream = Some(stream);
        Ok(())
    }

    /// Sends the next request on a free connection, making it first where it is not there.
    fn send(&mut self, index: usize, intended: Instant) {
        if self.connections[index].stream.is_none() && self.connect(index).is_err() {
            self.live -= 1;
            return;
        }
        let plan = self.plan;
        let listed = match &plan.requests_of {
            Some(requests) => {
                let picked = self.random.below(requests.len() as u64);
                requests.get(usize::try_from(picked).unwrap_or_default())
            }
            None => {
                let picked = self.random.below(u64::from(plan.monitors));
                put(&mut self.request, self.token_at, token(plan.seed, picked));
                None
            }
        };
        let number = self.outcome.next_number;
        if self.plan.number_from.is_some() {
            put(
                &mut self.request,
                self.run_id_at,
                run_id(self.plan.seed, number),
            );
            self.outcome.next_number += 1;
        }
        let connection = &mut self.connections[index];
        connection.intended = intended;
        connection.number = number;
        connection.filled = 0;
        connection.waiting = true;
        self.in_flight += 1;
        let request = listed.unwrap_or(&self.request);
        let written = match &mut connection.stream {
            Some(stream) => stream.write(request),
            None => return,
        };
        if written.ok() != Some(request.len()) {
            self.broke(index);
        }
    }

    fn wait(&mut self, events: &mut Vec<epoll::Event>, timeout: Duration) -> Result<()> {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        events.clear();
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(events),
            Some(&timeout),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for answers"),
        }
        for event in events.iter() {
            let data = event.data.u64();
            self.readable(usize::try_from(data).context("an event of no connection")?);
        }
        Ok(())
    }

    fn readable(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(stream) = &mut connection.stream else {
            return;
        };
        match stream.read(&mut connection.answer[connection.filled..]) {
            Ok(0) => return self.broke(index),
            Ok(read) => connection.filled += read,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return;
            }
            Err(_) => return self.broke(index),
        }
        match response::read(&connection.answer[..connection.filled]) {
            Answer::Partial if connection.filled < connection.answer.len() => {}
            Answer::Whole { status, closes } if connection.waiting => {
                self.answered(index, status, closes)
            }
            _ => self.broke(index),
        }
    }

    fn answered(&mut self, index: usize, status: u16, closes: bool) {
        let connection = &mut self.connections[index];
        connection.waiting = false;
        self.in_flight -= 1;
        if status == 200 || (self.plan.requests_of.is_some() && matches!(status, 201..=299)) {
            self.outcome.latency.record(connection.intended.elapsed());
            if self.plan.number_from.is_some() {
                self.outcome.acknowledged.push(connection.number);
            }
        } else {
            *self.outcome.refused.entry(status).or_default() += 1;
        }
        if self.outcome.latency.count() >= self.plan.requests {
            self.sending = false;
        }
        if closes || !self.plan.keep_alive {
            connection.stream = None;
        }
        match self.plan.pace {
            Pace::Closed if self.sending => self.send(index, Instant::now()),
            _ => self.idle.push(index),
        }
    }

    /// The connection is gone; so is its request, if it carried one.
    fn broke(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.stream = None;
        if connection.waiting {
            connection.waiting = false;
            self.in_flight -= 1;
            self.outcome.broken += 1;
            self.idle.push(index);
        }
    }

    /// Requests that were due and got no answer count with the time they have waited.
    fn give_up_on_the_rest(&mut self, plan: &Plan, mut due: Instant, end: Instant) {
        let now = Instant::now();
        for connection in self
            .connections
            .iter()
            .filter(|connection| connection.waiting)
        {
            self.outcome.unanswered += 1;
            self.outcome
                .latency
                .record(now.saturating_duration_since(connection.intended));
        }
        if let Pace::Open(rate) = plan.pace {
            while due < end.min(now) {
                self.outcome.unanswered += 1;
                self.outcome
                    .latency
                    .record(now.saturating_duration_since(due));
                due += Duration::from_secs_f64(1.0 / rate);
            }
        }
    }
}

/// The request, as curl would send it, and where its token and its run id go.
fn template(plan: &Plan) -> (Vec<u8>, usize, usize) {
    const HOLE: &str = "00000000-0000-4000-8000-000000000000";
    let mut request = String::from("GET /ping/");
    let token_at = request.len();
    request.push_str(HOLE);
    let mut run_id_at = 0;
    if plan.number_from.is_some() {
        request.push_str("?rid=");
        run_id_at = request.len();
        request.push_str(HOLE);
    }
    let close = if plan.keep_alive {
        ""
    } else {
        "Connection: close\r\n"
    };
    request.push_str(&format!(
        " HTTP/1.1\r\nHost: {}\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n{close}\r\n",
        plan.addresses[0]
    ));
    (request.into_bytes(), token_at, run_id_at)
}

fn put(request: &mut [u8], at: usize, id: uuid::Uuid) {
    id.hyphenated()
        .encode_lower(&mut request[at..at + uuid::fmt::Hyphenated::LENGTH]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers every request on every connection, the n-th by `answer(n)`; ends with the test.
    fn server(answer: fn(u64) -> Option<&'static str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut buffer = [0; 1024];
                    for n in 0.. {
                        match (stream.read(&mut buffer), answer(n)) {
                            (Ok(1..), Some(text)) => stream.write_all(text.as_bytes()).unwrap(),
                            _ => return,
                        }
                    }
                });
            }
        });
        address
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK";

    fn plan(address: SocketAddr, requests: u64) -> Plan {
        Plan {
            requests,
            monitors: 10,
            ..Plan::closed(vec![address], 2, Duration::from_secs(20))
        }
    }

    #[test]
    fn a_closed_loop_ends_at_its_number_of_requests_with_each_acknowledged_number_once() {
        let address = server(|_| Some(OK));
        for keep_alive in [true, false] {
            let plan = Plan {
                keep_alive,
                number_from: Some(100),
                ..plan(address, 50)
            };
            let mut outcome = run(&plan, &AtomicBool::new(false))
                .unwrap()
                .clean("test")
                .unwrap();
            let sent = outcome.next_number - 100;
            assert!((50..=51).contains(&sent), "{sent} sent");
            outcome.acknowledged.sort_unstable();
            assert_eq!(
                outcome.acknowledged,
                (100..outcome.next_number).collect::<Vec<u64>>()
            );
        }
    }

    #[test]
    fn an_open_loop_sends_what_was_due_and_no_more() {
        let plan = Plan {
            pace: Pace::Open(1_000.0),
            duration: Duration::from_millis(100),
            ..plan(server(|_| Some(OK)), u64::MAX)
        };
        let outcome = run(&plan, &AtomicBool::new(false)).unwrap();
        assert_eq!(outcome.latency.count(), 100);
        assert_eq!(outcome.unanswered, 0);
    }

    #[test]
    fn refusals_and_broken_connections_are_counted_and_are_not_clean() {
        let refusing =
            server(|_| Some("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"));
        let plan_refused = Plan {
            duration: Duration::from_millis(50),
            ..plan(refusing, u64::MAX)
        };
        let outcome = run(&plan_refused, &AtomicBool::new(false)).unwrap();
        assert!(outcome.refused[&503] > 0);
        assert_eq!(outcome.latency.count(), 0);
        assert!(outcome.clean("test").is_err());

        let breaking = server(|n| (n < 3).then_some(OK));
        let outcome = run(&plan(breaking, 20), &AtomicBool::new(false)).unwrap();
        assert!(outcome.broken > 0);
        assert!(outcome.clean("test").is_err());
    }

    #[test]
    fn a_request_that_is_never_answered_counts_with_the_time_it_waited() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let plan = plan(listener.local_addr().unwrap(), u64::MAX);
        let stop = AtomicBool::new(false);
        let outcome = std::thread::scope(|scope| {
            let run = scope.spawn(|| run(&plan, &stop).unwrap());
            let mut held = [listener.accept().unwrap().0, listener.accept().unwrap().0];
            for stream in &mut held {
                stream.read_exact(&mut [0; 10]).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
            run.join().unwrap()
        });
        assert_eq!((outcome.unanswered, outcome.latency.count()), (2, 2));
    }
}
