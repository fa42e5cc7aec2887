//! Copying an embedded database into a PostgreSQL that holds nothing yet.
//!
//! What there is to copy is asked of the databases themselves, so that a new table or column cannot be forgotten. It is one
//! transaction: a copy is there as a whole, or not at all.

use std::collections::{BTreeMap, BTreeSet};

use crate::sql::{Builder, Query, Row, Value, query};
use crate::{Error, Session, Store};

/// Rows of one statement.
const CHUNK: i64 = 200;
/// Of these a row may take some megabytes.
const LARGE: &[&str] = &["log", "history_block"];
/// So many of them.
const LARGE_CHUNK: i64 = 10;

/// What a migration itself puts into a database.
const SEEDED: &[&str] = &["lease", "log_stream"];

/// A table of both databases.
struct Table {
    name: String,
    /// In the order of the target.
    columns: Vec<Column>,
    /// Places of the primary key's columns among these.
    key: Vec<usize>,
    /// The tables that its rows name.
    names: BTreeSet<String>,
}

struct Column {
    name: String,
    kind: Kind,
    /// The database gives it.
    is_given: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Number,
    Text,
    Bytes,
}

/// How far a copy has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The table that is being copied.
    pub table: String,
    /// Rows of it that are copied.
    pub copied: u64,
    /// Rows that it has.
    pub of: u64,
}

impl Store {
    /// Copies all that this embedded database holds into a shared one that holds nothing yet: numbers, tokens, the log,
    /// states, the outbox are then the same. Whoever holds this store holds its directory, so that no server is using it.
    /// Answers what was copied of each table.
    ///
    /// # Errors
    /// [`Error::NotCopied`], or what a database says; the target is then as it was.
    pub async fn copy_to(
        &self,
        target: &Store,
        mut progress: impl FnMut(&Progress) + Send,
    ) -> Result<Vec<Progress>, Error> {
        if self.is_shared() || !target.is_shared() {
            let why = "it goes from the embedded database to a PostgreSQL, and no other way";
            return Err(Error::NotCopied(why.to_owned()));
        }
        let mut from = self.session().await?;
        let mut to = target.session().await?;
        from.begin_snapshot().await?;
        to.begin_patiently().await?;
        let copied = copy(&mut from, &mut to, &mut progress).await;
        from.rollback().await?;
        to.end(copied).await
    }
}

async fn copy(
    from: &mut Session<'_>,
    to: &mut Session<'_>,
    progress: &mut (impl FnMut(&Progress) + Send),
) -> Result<Vec<Progress>, Error> {
    let tables = ordered(tables(from, to).await?);
    for table in &tables {
        // Nobody else begins to use it meanwhile.
        to.run(query(format!(
            "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
            table.name
        )))
        .await?;
        if !SEEDED.contains(&table.name.as_str()) && to.number(table.count()).await? > 0 {
            return Err(Error::NotCopied(format!(
                "the other database is in use already: there are rows in its table {}; name one that is empty",
                table.name
            )));
        }
    }
    for table in tables.iter().rev() {
        to.run(query(format!("DELETE FROM {}", table.name))).await?;
    }
    let mut copied = Vec::new();
    for table in &tables {
        let mut done = Progress {
            table: table.name.clone(),
            copied: 0,
            of: from.number(table.count()).await?.cast_unsigned(),
        };
        progress(&done);
        let mut after = None;
        loop {
            let rows = from.rows(table.chunk(after)).await?;
            let Some(last) = rows.last() else { break };
            after = Some(table.key.iter().map(|at| table.value(last, *at)).collect());
            done.copied += rows.len() as u64;
            to.run(table.insert(&rows)).await?;
            progress(&done);
        }
        for column in table.columns.iter().filter(|column| column.is_given) {
            give_on(from, to, &table.name, &column.name).await?;
        }
        copied.push(done);
    }
    for (table, done) in tables.iter().zip(&copied) {
        let arrived = to.number(table.count()).await?.cast_unsigned();
        if arrived != done.of {
            return Err(Error::NotCopied(format!(
                "of {} rows in the table {} there are {arrived}",
                done.of, table.name
            )));
        }
    }
    Ok(copied)
}

/// No number is given a second time, not even that of a row that is gone.
async fn give_on(
    from: &mut Session<'_>,
    to: &mut Session<'_>,
    table: &str,
    column: &str,
) -> Result<(), Error> {
    let highest = from
        .number(query(format!(
            "SELECT COALESCE(MAX({column}), 0) FROM {table}"
        )))
        .await?;
    let given = from
        .number(
            query("SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = $1").bind(table),
        )
        .await?;
    let last = highest.max(given);
    if last > 0 {
        let set = query("SELECT setval(pg_get_serial_sequence($1, $2), $3)");
        to.run(set.bind(table).bind(column).bind(last)).await?;
    }
    Ok(())
}

/// The tables of the target, which must be those of the source.
async fn tables(from: &mut Session<'_>, to: &mut Session<'_>) -> Result<Vec<Table>, Error> {
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    let columns = query(
        "SELECT CAST(c.relname AS TEXT), CAST(a.attname AS TEXT), CAST(t.typname AS TEXT), a.attidentity <> '',
         EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p' AND a.attnum = ANY (k.conkey))
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
         WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relkind = 'r'
         AND c.relname <> '_sqlx_migrations' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.relname, a.attnum",
    );
    for row in to.rows(columns).await? {
        let name: String = row.get(0);
        let kind = match row.get(2) {
            "int8" => Kind::Number,
            "text" => Kind::Text,
            "bytea" => Kind::Bytes,
            _ => return Err(Error::Corrupt("a column is of an unknown type")),
        };
        let table = tables.entry(name.clone()).or_insert_with(|| Table {
            name,
            columns: Vec::new(),
            key: Vec::new(),
            names: BTreeSet::new(),
        });
        if row.get(4) {
            table.key.push(table.columns.len());
        }
        table.columns.push(Column {
            name: row.get(1),
            kind,
            is_given: row.get(3),
        });
    }
    let references = query(
        "SELECT CAST(c.relname AS TEXT), CAST(r.relname AS TEXT) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
         JOIN pg_class r ON r.oid = k.confrelid WHERE k.contype = 'f' AND c.relnamespace = CAST(current_schema() AS regnamespace)",
    );
    for row in to.rows(references).await? {
        if let Some(table) = tables.get_mut(row.get::<&str>(0)) {
            table.names.insert(row.get(1));
        }
    }
    let mine = query(
        "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_xinfo(t.name) c
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name <> '_sqlx_migrations'",
    );
    let mine: BTreeSet<(String, String)> = from
        .rows(mine)
        .await?
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let theirs: BTreeSet<(String, String)> = tables
        .values()
        .flat_map(|table| {
            let name = |column: &Column| (table.name.clone(), column.name.clone());
            table.columns.iter().map(name)
        })
        .collect();
    if let Some((table, column)) = mine.symmetric_difference(&theirs).next() {
        return Err(Error::NotCopied(format!(
            "only one of the databases has {table}.{column}: both must be of this version"
        )));
    }
    Ok(tables.into_values().collect())
}

/// Each after those that its rows name.
fn ordered(mut tables: Vec<Table>) -> Vec<Table> {
    let mut ordered: Vec<Table> = Vec::new();
    while !tables.is_empty() {
        let is_next = |table: &Table| {
            table
                .names
                .iter()
                .all(|name| *name == table.name || ordered.iter().any(|one| one.name == *name))
        };
        let (next, rest): (Vec<Table>, Vec<Table>) = tables.into_iter().partition(is_next);
        if next.is_empty() {
            // They name each other: no order is right, and the database will say so.
            ordered.extend(rest);
            break;
        }
        ordered.extend(next);
        tables = rest;
    }
    ordered
}

impl Table {
    fn count(&self) -> Query {
        query(format!("SELECT COUNT(*) FROM {}", self.name))
    }

    fn rows_at_once(&self) -> i64 {
        if LARGE.contains(&self.name.as_str()) {
            LARGE_CHUNK
        } else {
            CHUNK
        }
    }

    fn list(&self, columns: impl Iterator<Item = usize>) -> String {
        let names: Vec<&str> = columns.map(|at| self.columns[at].name.as_str()).collect();
        names.join(", ")
    }

    /// The rows behind the one with this key.
    fn chunk(&self, after: Option<Vec<Value>>) -> Query {
        let key = self.list(self.key.iter().copied());
        let mut query = Builder::new(format!(
            "SELECT {} FROM {}",
            self.list(0..self.columns.len()),
            self.name
        ));
        if let Some(after) = after {
            query.push(&format!(" WHERE ({key}) > ("));
            let mut separator = "";
            for value in after {
                query.push(separator).push_bind(value);
                separator = ", ";
            }
            query.push(")");
        }
        query
            .push(&format!(" ORDER BY {key} LIMIT "))
            .push_bind(self.rows_at_once());
        query.build()
    }

    fn value(&self, row: &Row, at: usize) -> Value {
        match self.columns[at].kind {
            Kind::Number => Value::Number(row.get(at)),
            Kind::Text => Value::Text(row.get(at)),
            Kind::Bytes => Value::Bytes(row.get(at)),
        }
    }

    fn insert(&self, rows: &[Row]) -> Query {
        let columns = self.list(0..self.columns.len());
        let mut query = Builder::new(format!("INSERT INTO {} ({columns}) ", self.name));
        query.push_values(rows, |values, row| {
            for at in 0..self.columns.len() {
                values.push_bind(self.value(row, at));
            }
        });
        query.build()
    }
}

impl Session<'_> {
    /// As [`Session::begin`], for statements that take their time.
    async fn begin_patiently(&mut self) -> Result<(), Error> {
        self.begin().await?;
        for setting in [
            "SET LOCAL statement_timeout = 0",
            "SET LOCAL idle_in_transaction_session_timeout = '5min'",
        ] {
            self.run(query(setting)).await?;
        }
        Ok(())
    }

    async fn run(&mut self, query: Query) -> Result<(), Error> {
        let done = query.execute(self.connection()).await;
        done.map(drop)
            .map_err(Error::attempted("copy the database"))
    }

    async fn rows(&mut self, query: Query) -> Result<Vec<Row>, Error> {
        let rows = query.fetch_all(self.connection()).await;
        rows.map_err(Error::attempted("copy the database"))
    }

    async fn number(&mut self, query: Query) -> Result<i64, Error> {
        let row = query.fetch_one(self.connection()).await;
        row.map(|row| row.get(0))
            .map_err(Error::attempted("copy the database"))
    }
}
