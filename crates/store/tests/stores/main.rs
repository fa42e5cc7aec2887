//! What a store must do, whichever database it lies in: every test runs on SQLite and on PostgreSQL, and its name says
//! which. What only one of them can do has tests of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use sqlx::{Connection as _, PgConnection, SqliteConnection};
use systole_store::{Error, Store};
use systole_testing::postgres::{self, Database};

/// Makes a test per database of each of these functions, which take a [`Place`].
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(crate::Place::directory()).await;
                }
            )+
        }
        mod postgres {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(crate::Place::database()).await;
                }
            )+
        }
    };
}

mod channels;
mod connecting;
mod copy;
mod filled;
mod incidents;
mod maintenance;
mod monitors;
mod night;
mod opening;
mod outbox;
mod people;
mod replicas;
mod retention;
mod schema;
mod sets;

/// Where a store lies, empty at first; it goes with the value.
enum Place {
    Directory(tempfile::TempDir),
    Database(Database),
}

impl Place {
    fn directory() -> Place {
        Place::Directory(tempfile::tempdir().unwrap())
    }

    fn database() -> Place {
        Place::Database(postgres::database())
    }

    /// The store in it, as a process finds it at its start.
    async fn open(&self) -> Store {
        self.try_open().await.unwrap()
    }

    async fn try_open(&self) -> Result<Store, Error> {
        match self {
            Place::Directory(directory) => Store::open(directory.path()).await,
            Place::Database(database) => Store::connect(database.url()).await,
        }
    }

    /// Runs statements behind the store's back.
    async fn execute(&self, statements: &[&'static str]) {
        match self {
            Place::Directory(directory) => {
                let file = directory.path().join("systole.db");
                let mut connection =
                    SqliteConnection::connect(&format!("sqlite://{}", file.display()))
                        .await
                        .unwrap();
                for statement in statements {
                    sqlx::query(*statement)
                        .execute(&mut connection)
                        .await
                        .unwrap();
                }
                connection.close().await.unwrap();
            }
            Place::Database(database) => {
                let mut connection = PgConnection::connect(database.url()).await.unwrap();
                for statement in statements {
                    sqlx::query(*statement)
                        .execute(&mut connection)
                        .await
                        .unwrap();
                }
                connection.close().await.unwrap();
            }
        }
    }
}
