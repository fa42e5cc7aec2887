//! One statement text for both databases: SQLite in our own process, or a shared PostgreSQL.
//!
//! A statement is its text with `$1`, `$2` … and values of three kinds: numbers, text, bytes. Whatever a statement needs that
//! the dialects do not share is asked of [`Dialect`]; the PostgreSQL schema brings `json_each` and `now_us` along.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::query::Query as Prepared;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Connection as _, Decode, Postgres, Row as _, Sqlite, Type};

/// The database that a store lies in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dialect {
    /// One file, one process.
    Sqlite,
    /// Shared by any number of replicas.
    Postgres,
}

impl Dialect {
    /// Keeps the rows that a sub-select has chosen for us: rows that another replica has chosen are passed over. One
    /// writer needs no such thing.
    pub(crate) const fn skip_locked(self) -> &'static str {
        match self {
            Dialect::Sqlite => "",
            Dialect::Postgres => " FOR UPDATE SKIP LOCKED",
        }
    }

    /// Keeps others from changing the rows that a SELECT finds until the transaction ends.
    pub(crate) const fn for_share(self) -> &'static str {
        match self {
            Dialect::Sqlite => "",
            Dialect::Postgres => " FOR SHARE",
        }
    }

    /// The states of a group of rows as one text: `id cut hex,…`.
    pub(crate) const fn states(self) -> &'static str {
        match self {
            Dialect::Sqlite => "group_concat(id || ' ' || cut || ' ' || hex(state), ',')",
            Dialect::Postgres => "string_agg(id || ' ' || cut || ' ' || encode(state, 'hex'), ',')",
        }
    }

    /// The tokens of a group of monitors as one text: `id hex,…`, of each hash the first 16 bytes.
    pub(crate) const fn tokens(self) -> &'static str {
        match self {
            Dialect::Sqlite => "group_concat(id || ' ' || hex(substr(token_hash, 1, 16)), ',')",
            Dialect::Postgres => {
                "string_agg(id || ' ' || encode(substr(token_hash, 1, 16), 'hex'), ',')"
            }
        }
    }

    /// The time of the database, as the statement sees it: a parameter on SQLite, whose clock is ours.
    pub(crate) const fn now(self, parameter: &'static str) -> &'static str {
        match self {
            Dialect::Sqlite => parameter,
            Dialect::Postgres => "now_us()",
        }
    }
}

/// What a parameter of a statement may be; `None` is NULL.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Number(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

/// What can be bound to a parameter.
pub(crate) trait Bind {
    fn value(self) -> Value;
}

macro_rules! bind {
    ($($kind:ident: $($from:ty => $convert:expr),+;)+) => {
        $($(
            impl Bind for $from {
                fn value(self) -> Value {
                    Value::$kind(Some($convert(self)))
                }
            }
            impl Bind for Option<$from> {
                fn value(self) -> Value {
                    Value::$kind(self.map($convert))
                }
            }
        )+)+
    };
}

bind! {
    Number: i64 => i64::from, &i64 => |it: &i64| *it, bool => i64::from;
    Text: String => storable, &String => |it: &String| storable(it.clone()), &str => |it: &str| storable(it.to_owned());
    Bytes: Vec<u8> => |it| it, &Vec<u8> => Vec::clone, &[u8] => <[u8]>::to_vec;
}

impl Bind for Value {
    fn value(self) -> Value {
        match self {
            Value::Text(text) => text.value(),
            other => other,
        }
    }
}

impl<const N: usize> Bind for &[u8; N] {
    fn value(self) -> Value {
        Value::Bytes(Some(self.to_vec()))
    }
}

impl Bind for &Option<String> {
    fn value(self) -> Value {
        self.clone().value()
    }
}

/// PostgreSQL's texts hold no NUL, which jobs and other people's servers may well send; so no stored text does.
fn storable(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text
    }
}

impl Bind for &Option<Vec<u8>> {
    fn value(self) -> Value {
        Value::Bytes(self.clone())
    }
}

/// A statement with its parameters.
pub(crate) struct Query {
    text: Cow<'static, str>,
    values: Vec<Value>,
}

/// A statement whose parameters follow by [`Query::bind`].
pub(crate) fn query(text: impl Into<Cow<'static, str>>) -> Query {
    let text = text.into();
    debug_assert!(
        !text.contains(PLACE),
        "PostgreSQL would number a place among the parameters: {text}"
    );
    Query {
        text,
        values: Vec::new(),
    }
}

/// How PostgreSQL gets to know a statement. A pooler may give every transaction another connection to it, where a
/// statement that was prepared before is not known, or is another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Preparing {
    /// Prepared once per connection, and kept there.
    Once,
    /// Prepared each time, and run in the same transaction: the one that is open.
    EachTime,
    /// The same, in a transaction of its own.
    InTransaction,
}

/// An answer of the shared database that takes longer does not come: the way to it may be cut without a word.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// When a connection of a pool was found broken last. What broke it, a restart or a fail-over of the database or a cut of the
/// way to it, has broken those that were opened before, too: finding that out one by one would fail a statement each.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    counted_from: Instant,
    micros: Arc<AtomicU64>,
}

impl Broken {
    pub(crate) fn never() -> Broken {
        Broken {
            counted_from: Instant::now(),
            micros: Arc::default(),
        }
    }

    fn note(&self) {
        self.micros.fetch_max(self.now(), Ordering::Relaxed);
    }

    /// Whether a connection that is so old was opened after that.
    pub(crate) fn trusts(&self, age: Duration) -> bool {
        let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        self.micros.load(Ordering::Relaxed) <= self.now().saturating_sub(age)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.counted_from.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Lends the connections of one pool.
#[derive(Clone, Debug)]
pub(crate) struct Lender {
    pool: PgPool,
    preparing: Preparing,
    broken: Broken,
}

impl Lender {
    /// `broken` is what the pool asks before it gives a connection away.
    pub(crate) const fn new(pool: PgPool, preparing: Preparing, broken: Broken) -> Lender {
        Lender {
            pool,
            preparing,
            broken,
        }
    }

    pub(crate) async fn lend(&self) -> Result<Lent, sqlx::Error> {
        Ok(Lent {
            connection: self.pool.acquire().await?,
            preparing: self.preparing,
            broken: self.broken.clone(),
            in_statement: false,
            in_transaction: false,
            failed: false,
        })
    }
}

/// A connection of the shared database for as long as somebody has it. One that was left in the middle of a statement or
/// of a transaction is closed, not given back.
pub(crate) struct Lent {
    connection: PoolConnection<Postgres>,
    preparing: Preparing,
    broken: Broken,
    in_statement: bool,
    pub(crate) in_transaction: bool,
    /// The last statement got no good answer.
    failed: bool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.in_statement || self.in_transaction {
            self.connection.close_on_drop();
        }
    }
}

impl Lent {
    /// Whether the connection may be worth nothing any more.
    pub(crate) const fn failed(&self) -> bool {
        self.failed || self.in_statement || self.in_transaction
    }

    const fn preparing(&self) -> Preparing {
        match self.preparing {
            Preparing::InTransaction if self.in_transaction => Preparing::EachTime,
            preparing => preparing,
        }
    }

    /// Text without parameters, of one statement or several.
    pub(crate) async fn simple(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
        self.in_statement = true;
        let answer = answered(sqlx::raw_sql(text).execute(&mut *self.connection)).await;
        self.ended(&answer);
        answer.map(drop)
    }

    /// A statement has ended, or its connection is in doubt.
    fn ended<T>(&mut self, answer: &Result<T, sqlx::Error>) {
        self.in_statement = is_open(answer);
        self.failed = answer.is_err();
        if self.in_statement {
            self.broken.note();
        }
    }
}

/// Waits for an answer, but not for ever.
async fn answered<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            "the database does not answer",
        ))),
    }
}

/// Where a statement runs.
pub(crate) enum Target<'c> {
    SqliteConnection(&'c mut SqliteConnection),
    SqlitePool(&'c SqlitePool),
    PostgresConnection(&'c mut Lent),
    PostgresPool(&'c Lender),
}

/// One connection, its statements one after the other.
pub(crate) enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut Lent),
}

impl Connection<'_> {
    /// The same connection for one statement more.
    pub(crate) fn again(&mut self) -> Connection<'_> {
        match self {
            Connection::Sqlite(connection) => Connection::Sqlite(connection),
            Connection::Postgres(lent) => Connection::Postgres(lent),
        }
    }
}

impl<'c> From<Connection<'c>> for Target<'c> {
    fn from(connection: Connection<'c>) -> Target<'c> {
        match connection {
            Connection::Sqlite(connection) => Target::SqliteConnection(connection),
            Connection::Postgres(lent) => Target::PostgresConnection(lent),
        }
    }
}

/// Connections that only read what was committed.
#[derive(Clone, Debug)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(Lender),
}

impl<'c> From<&'c Pool> for Target<'c> {
    fn from(pool: &'c Pool) -> Target<'c> {
        match pool {
            Pool::Sqlite(pool) => Target::SqlitePool(pool),
            Pool::Postgres(lender) => Target::PostgresPool(lender),
        }
    }
}

/// What a statement did that answers no rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done(u64);

impl Done {
    pub(crate) const fn rows_affected(self) -> u64 {
        self.0
    }
}

/// One row of an answer.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// What a column may be read as: one of the three kinds of values, or a yes or no.
pub(crate) trait Column<'r>: Sized {
    fn read(row: &'r Row, index: usize) -> Self;
}

macro_rules! column {
    ($($of:ty),+) => {
        $(
            impl<'r> Column<'r> for $of {
                fn read(row: &'r Row, index: usize) -> $of {
                    row.plain(index)
                }
            }
            impl<'r> Column<'r> for Option<$of> {
                fn read(row: &'r Row, index: usize) -> Option<$of> {
                    row.plain(index)
                }
            }
        )+
    };
}

column!(i64, &'r str, String, &'r [u8], Vec<u8>);

impl Column<'_> for bool {
    /// SQLite knows only numbers; in PostgreSQL columns are numbers, and conditions are not.
    fn read(row: &Row, index: usize) -> bool {
        match row {
            Row::Sqlite(row) => row.get(index),
            Row::Postgres(row) => row
                .try_get::<bool, _>(index)
                .unwrap_or_else(|_| row.get::<i64, _>(index) != 0),
        }
    }
}

impl Row {
    /// The column at `index`, from 0. Statements and their readers stand side by side: a type that does not fit is a
    /// fault of the program, not of the data.
    pub(crate) fn get<'r, T: Column<'r>>(&'r self, index: usize) -> T {
        T::read(self, index)
    }

    fn plain<'r, T>(&'r self, index: usize) -> T
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
    {
        match self {
            Row::Sqlite(row) => row.get(index),
            Row::Postgres(row) => row.get(index),
        }
    }
}

/// Whether the connection is in doubt after this: only what the database said itself, or a row that is not there, says
/// that the statement has ended. `57P…` is its last word: it shuts down, or has crashed.
fn is_open<T>(answer: &Result<T, sqlx::Error>) -> bool {
    match answer {
        Ok(_) | Err(sqlx::Error::RowNotFound) => false,
        Err(sqlx::Error::Database(error)) => {
            error.code().is_some_and(|code| code.starts_with("57P"))
        }
        Err(_) => true,
    }
}

/// Runs one expression on a connection that is lent: it ends in time, and what is left open is known.
macro_rules! lent_to {
    ($lent:expr, $text:expr, $values:expr, $run:ident) => {{
        let preparing = $lent.preparing();
        $lent.in_statement = true;
        let answer = answered(async {
            let query = postgres($text, $values).persistent(preparing == Preparing::Once);
            if preparing != Preparing::InTransaction {
                return query.$run(&mut *$lent.connection).await;
            }
            let mut transaction = $lent.connection.begin().await?;
            let answer = query.$run(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(answer)
        })
        .await;
        $lent.ended(&answer);
        answer
    }};
}

/// Runs one expression on whichever connection it is, with the statement prepared for its database.
macro_rules! on {
    ($query:expr, $target:expr, $run:ident, $sqlite:expr, $postgres:expr) => {{
        let Query { text, values } = $query;
        match $target.into() {
            Target::SqliteConnection(connection) => {
                sqlite(text, values).$run(connection).await.map($sqlite)
            }
            Target::SqlitePool(pool) => sqlite(text, values).$run(pool).await.map($sqlite),
            Target::PostgresConnection(lent) => lent_to!(lent, text, values, $run).map($postgres),
            Target::PostgresPool(lender) => {
                let mut lent = lender.lend().await?;
                lent_to!(lent, text, values, $run).map($postgres)
            }
        }
    }};
}

impl Query {
    /// The next parameter.
    pub(crate) fn bind(mut self, value: impl Bind) -> Query {
        self.values.push(value.value());
        self
    }

    pub(crate) async fn execute<'c>(
        self,
        target: impl Into<Target<'c>>,
    ) -> Result<Done, sqlx::Error> {
        on!(
            self,
            target,
            execute,
            |done| Done(done.rows_affected()),
            |done| Done(done.rows_affected())
        )
    }

    pub(crate) async fn fetch_one<'c>(
        self,
        target: impl Into<Target<'c>>,
    ) -> Result<Row, sqlx::Error> {
        self.fetch_optional(target)
            .await?
            .ok_or(sqlx::Error::RowNotFound)
    }

    /// The first row. It is read to the statement's end all the same: with `RETURNING` the row comes before the commit,
    /// which may still fail.
    pub(crate) async fn fetch_optional<'c>(
        self,
        target: impl Into<Target<'c>>,
    ) -> Result<Option<Row>, sqlx::Error> {
        let rows = self.fetch_all(target).await?;
        Ok(rows.into_iter().next())
    }

    pub(crate) async fn fetch_all<'c>(
        self,
        target: impl Into<Target<'c>>,
    ) -> Result<Vec<Row>, sqlx::Error> {
        on!(
            self,
            target,
            fetch_all,
            |rows| rows.into_iter().map(Row::Sqlite).collect(),
            |rows| rows.into_iter().map(Row::Postgres).collect()
        )
    }
}

// Texts are put together from literals of this crate alone; whatever comes from outside is a parameter.
fn sqlite(
    text: Cow<'static, str>,
    values: Vec<Value>,
) -> Prepared<'static, Sqlite, SqliteArguments> {
    let query = sqlx::query(AssertSqlSafe(text));
    values.into_iter().fold(query, |query, value| match value {
        Value::Number(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

fn postgres(
    text: Cow<'static, str>,
    values: Vec<Value>,
) -> Prepared<'static, Postgres, PgArguments> {
    let query = sqlx::query(AssertSqlSafe(numbered(text)));
    values.into_iter().fold(query, |query, value| match value {
        Value::Number(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

/// Stands for the next parameter in a statement that was put together, as SQLite wants it: a number in its place would be a name there,
/// and each of some thousand names is looked up among all of them. No text of ours has it for anything else.
const PLACE: char = '?';

/// Numbers the places from 1, as PostgreSQL wants them.
fn numbered(text: Cow<'static, str>) -> Cow<'static, str> {
    let mut parts = text.split(PLACE);
    let first = parts.next().unwrap_or_default();
    if first.len() == text.len() {
        return text;
    }
    let mut written = String::with_capacity(2 * text.len());
    written.push_str(first);
    for (index, part) in parts.enumerate() {
        written.push('$');
        written.push_str(&(index + 1).to_string());
        written.push_str(part);
    }
    Cow::Owned(written)
}

/// A statement that is put together: conditions that may be left out, lists of rows.
pub(crate) struct Builder {
    text: String,
    values: Vec<Value>,
}

impl Builder {
    pub(crate) fn new(text: impl Into<String>) -> Builder {
        Builder {
            text: text.into(),
            values: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, text: &str) -> &mut Builder {
        self.text.push_str(text);
        self
    }

    pub(crate) fn push_bind(&mut self, value: impl Bind) -> &mut Builder {
        self.values.push(value.value());
        self.text.push(PLACE);
        self
    }

    /// `VALUES (…), (…)`, a row for each of `rows`.
    pub(crate) fn push_values<T>(
        &mut self,
        rows: impl IntoIterator<Item = T>,
        mut push: impl FnMut(&mut Values<'_>, T),
    ) -> &mut Builder {
        let mut before = "VALUES (";
        for row in rows {
            self.push(before);
            before = "), (";
            push(
                &mut Values {
                    builder: self,
                    first: true,
                },
                row,
            );
        }
        self.push(")")
    }

    pub(crate) fn build(self) -> Query {
        debug_assert_eq!(
            self.text.matches(PLACE).count(),
            self.values.len(),
            "a parameter that was not pushed: {}",
            self.text
        );
        Query {
            text: Cow::Owned(self.text),
            values: self.values,
        }
    }
}

/// The columns of one row of [`Builder::push_values`].
pub(crate) struct Values<'b> {
    builder: &'b mut Builder,
    first: bool,
}

impl Values<'_> {
    pub(crate) fn push_bind(&mut self, value: impl Bind) -> &mut Self {
        if !self.first {
            self.builder.push(", ");
        }
        self.first = false;
        self.builder.push_bind(value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_places_in_sqlite_and_numbers_in_postgresql() {
        let mut builder = Builder::new("INSERT INTO a (b, c) ");
        builder.push_values([(1_i64, "x"), (2_i64, "y")], |row, (b, c)| {
            row.push_bind(b).push_bind(c);
        });
        let text = builder.build().text;
        assert_eq!(text, "INSERT INTO a (b, c) VALUES (?, ?), (?, ?)");
        assert_eq!(
            numbered(text),
            "INSERT INTO a (b, c) VALUES ($1, $2), ($3, $4)"
        );
        assert_eq!(numbered("SELECT $1".into()), "SELECT $1");
    }

    #[test]
    fn what_was_opened_before_a_connection_broke_is_not_trusted() {
        let broken = Broken::never();
        let old = Duration::from_secs(3_600);
        assert!(broken.trusts(old), "nothing has broken yet");
        std::thread::yield_now();
        broken.note();
        assert!(!broken.clone().trusts(old));
        while broken.now() == broken.micros.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        assert!(broken.trusts(Duration::ZERO), "it was opened afterwards");
    }
}
