//! What lies between a server and the database: a way that can be cut, in one direction or both, and moved.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Everything.
    Open,
    /// Nothing, and nobody is told: packets are lost.
    Silent,
    /// Statements arrive, their answers do not.
    NoAnswers,
    /// Statements do not arrive.
    NoStatements,
    /// Connections are refused, and those that were there are closed.
    Refused,
}

impl Way {
    const fn passes(self, is_answer: bool) -> bool {
        match self {
            Way::Open => true,
            Way::NoStatements => is_answer,
            Way::NoAnswers => !is_answer,
            Way::Silent | Way::Refused => false,
        }
    }
}

/// Runs as long as its runtime.
pub struct Proxy {
    pub address: SocketAddr,
    way: watch::Sender<Way>,
    database: Arc<Mutex<SocketAddr>>,
    /// Counts up whenever the connections that are there are to be closed.
    closed: watch::Sender<u32>,
}

impl Proxy {
    pub async fn start(database: SocketAddr) -> Result<Proxy> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .context("listen for a server that wants the database")?;
        let proxy = Proxy {
            address: listener.local_addr()?,
            way: watch::Sender::new(Way::Open),
            database: Arc::new(Mutex::new(database)),
            closed: watch::Sender::new(0),
        };
        let (way, closed) = (proxy.way.clone(), proxy.closed.clone());
        let database = Arc::clone(&proxy.database);
        tokio::spawn(async move {
            while let Ok((server, _)) = listener.accept().await {
                let database = *database.lock().unwrap_or_else(PoisonError::into_inner);
                tokio::spawn(connect(
                    server,
                    database,
                    way.subscribe(),
                    closed.subscribe(),
                ));
            }
        });
        Ok(proxy)
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
        if way == Way::Refused {
            self.close_all();
        }
    }

    /// Leads to another database from here on.
    pub fn lead_to(&self, database: SocketAddr) {
        *self.database.lock().unwrap_or_else(PoisonError::into_inner) = database;
        self.close_all();
    }

    fn close_all(&self) {
        self.closed.send_modify(|times| *times += 1);
    }
}

async fn connect(
    server: TcpStream,
    database: SocketAddr,
    mut way: watch::Receiver<Way>,
    mut closed: watch::Receiver<u32>,
) {
    closed.mark_unchanged();
    let carried = async {
        if *way.borrow() == Way::Refused {
            return;
        }
        // Where nothing passes, a connection is not made either: its first packet is lost.
        let open = way.wait_for(|way| *way != Way::Silent && *way != Way::NoStatements);
        if open.await.is_err() {
            return;
        }
        let Ok(database) = TcpStream::connect(database).await else {
            return;
        };
        let _ = (server.set_nodelay(true), database.set_nodelay(true));
        let (from_server, to_server) = server.into_split();
        let (from_database, to_database) = database.into_split();
        tokio::join!(
            carry(from_server, to_database, way.clone(), false),
            carry(from_database, to_server, way.clone(), true),
        );
    };
    tokio::select! {
        () = carried => {}
        _ = closed.changed() => {}
    }
}

/// Carries bytes of one direction while they pass; the end of them, too, arrives only then.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
    is_answer: bool,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await;
        if way.wait_for(|way| way.passes(is_answer)).await.is_err() {
            return;
        }
        match read {
            Ok(0) | Err(_) => {
                let _ = to.shutdown().await;
                return;
            }
            Ok(length) => {
                if to.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
