//! Both databases have the same tables, by the same migrations.

use std::collections::BTreeSet;
use std::path::Path;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};
use systole_store::Store;
use systole_testing::postgres;

/// What a schema says, a sentence for each thing.
type Sentences = BTreeSet<String>;

#[tokio::test]
async fn both_databases_have_the_same_tables() {
    let database = postgres::database();
    drop(Store::connect(database.url()).await.unwrap());
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let (sqlite, postgres) = (of_sqlite().await, of_postgres(&mut connection).await);
    assert!(sqlite.contains("monitor.labels is text, never NULL"));
    assert_eq!(differences(&sqlite, &postgres), [""; 0]);
}

#[tokio::test]
async fn what_is_missing_in_one_of_them_is_a_difference() {
    let database = postgres::database();
    drop(Store::connect(database.url()).await.unwrap());
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let whole = of_sqlite().await;
    for (statement, expected) in [
        (
            "ALTER TABLE monitor DROP COLUMN set_name",
            "only in SQLite: monitor.set_name is text",
        ),
        (
            "DROP TABLE setup_code",
            "only in SQLite: setup_code has the primary key (hash)",
        ),
        (
            "DROP INDEX incident_open",
            "only in SQLite: incident_open is a unique index of incident (monitor_id) where resolved_at IS NULL",
        ),
        (
            "ALTER TABLE token DROP CONSTRAINT token_hash_key",
            "only in SQLite: token (hash) is unique",
        ),
        (
            "ALTER TABLE delivery_attempt DROP CONSTRAINT delivery_attempt_delivery_id_fkey",
            "only in SQLite: delivery_attempt.delivery_id names delivery.id, on delete cascade",
        ),
        (
            "ALTER TABLE delivery ALTER COLUMN held SET DEFAULT 1",
            "only in PostgreSQL: delivery.held is number, never NULL, 1 by default",
        ),
        (
            "ALTER TABLE person ALTER COLUMN email TYPE TEXT COLLATE \"und-x-icu\"",
            "only in PostgreSQL: person.email is text in the order of und-x-icu, never NULL",
        ),
        (
            "ALTER TABLE project ALTER COLUMN name DROP NOT NULL",
            "only in PostgreSQL: project.name is text",
        ),
    ] {
        let mut transaction = connection.begin().await.unwrap();
        sqlx::query(statement)
            .execute(&mut *transaction)
            .await
            .unwrap();
        let found = differences(&whole, &of_postgres(&mut transaction).await);
        transaction.rollback().await.unwrap();
        assert!(
            found.iter().any(|sentence| sentence == expected),
            "{statement}: {found:#?}"
        );
    }
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |folder: &str| -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("migrations")
            .join(folder);
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    assert_eq!(names("sqlite"), names("postgres"));
}

fn differences(sqlite: &Sentences, postgres: &Sentences) -> Vec<String> {
    let only = |name: &str, one: &Sentences, other: &Sentences| -> Vec<String> {
        one.difference(other)
            .map(|sentence| format!("only in {name}: {sentence}"))
            .collect()
    };
    let mut found = only("SQLite", sqlite, postgres);
    found.extend(only("PostgreSQL", postgres, sqlite));
    found
}

fn column(table: &str, name: &str, kind: &str, never_null: bool, default: Option<&str>) -> String {
    let never_null = if never_null { ", never NULL" } else { "" };
    let default = default.map_or_else(String::new, |value| format!(", {value} by default"));
    format!("{table}.{name} is {kind}{never_null}{default}")
}

fn index(name: &str, unique: bool, table: &str, columns: &str, condition: Option<&str>) -> String {
    let unique = if unique { "a unique" } else { "an" };
    let condition = condition.map_or_else(String::new, |condition| {
        format!(" where {}", condition.replace(['(', ')'], ""))
    });
    format!("{name} is {unique} index of {table} ({columns}){condition}")
}

fn reference(table: &str, column: &str, target: &str, of: &str, on_delete: &str) -> String {
    let on_delete = match on_delete {
        "NO ACTION" => String::new(),
        action => format!(", on delete {}", action.to_lowercase()),
    };
    format!("{table}.{column} names {target}.{of}{on_delete}")
}

async fn of_sqlite() -> Sentences {
    let directory = tempfile::tempdir().unwrap();
    drop(Store::open(directory.path()).await.unwrap());
    let file = directory.path().join("systole.db");
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", file.display()))
        .await
        .unwrap();
    let mut said = Sentences::new();
    let tables = sqlx::query(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '_sqlx_%'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    for row in tables {
        let table: String = row.get(0);
        let columns = sqlx::query(
            "SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_xinfo($1) ORDER BY pk",
        )
        .bind(&table)
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let mut key: Vec<String> = Vec::new();
        for row in columns {
            let name: String = row.get(0);
            let kind = match row.get::<&str, _>(1) {
                "INTEGER" => "number",
                "TEXT" => "text",
                "BLOB" => "bytes",
                other => panic!("{table}.{name} is {other}"),
            };
            let is_key = row.get::<i64, _>(4) > 0;
            said.insert(column(
                &table,
                &name,
                kind,
                row.get(2) || is_key,
                row.get(3),
            ));
            if is_key {
                key.push(name);
            }
        }
        said.insert(format!("{table} has the primary key ({})", key.join(", ")));
        let indexes = sqlx::query(
            "SELECT l.name, l.\"unique\", l.origin, s.sql,
             (SELECT group_concat(name, ', ') FROM (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno))
             FROM pragma_index_list($1) l LEFT JOIN sqlite_schema s ON s.name = l.name",
        )
        .bind(&table)
        .fetch_all(&mut connection)
        .await
        .unwrap();
        for row in indexes {
            let (name, columns): (&str, &str) = (row.get(0), row.get(4));
            let sentence = match row.get::<&str, _>(2) {
                "pk" => continue,
                "u" => format!("{table} ({columns}) is unique"),
                _ => {
                    let text: &str = row.get(3);
                    let condition = text.split_once(" WHERE ").map(|(_, condition)| condition);
                    index(name, row.get(1), &table, columns, condition)
                }
            };
            said.insert(sentence);
        }
        let references = sqlx::query(
            "SELECT \"from\", \"table\", \"to\", on_delete FROM pragma_foreign_key_list($1)",
        )
        .bind(&table)
        .fetch_all(&mut connection)
        .await
        .unwrap();
        for row in references {
            said.insert(reference(
                &table,
                row.get(0),
                row.get(1),
                row.get(2),
                row.get(3),
            ));
        }
    }
    said
}

async fn of_postgres(connection: &mut PgConnection) -> Sentences {
    let mut said = Sentences::new();
    let columns = sqlx::query(
        "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT), CAST(data_type AS TEXT), is_nullable = 'NO',
         CAST(column_default AS TEXT), CAST(collation_name AS TEXT)
         FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
         WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND NOT starts_with(table_name, '_sqlx_')",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    for row in columns {
        let (table, name): (&str, &str) = (row.get(0), row.get(1));
        let order = row.get::<Option<&str>, _>(5).unwrap_or("the database");
        let kind = match row.get::<&str, _>(2) {
            "bigint" => "number".to_owned(),
            "bytea" => "bytes".to_owned(),
            "text" if order == "C" => "text".to_owned(),
            "text" => format!("text in the order of {order}"),
            other => panic!("{table}.{name} is {other}"),
        };
        said.insert(column(table, name, &kind, row.get(3), row.get(4)));
    }
    let named = |keys: &str, relation: &str| {
        format!(
            "(SELECT string_agg(CAST(a.attname AS TEXT), ', ' ORDER BY k.n) FROM unnest({keys}) WITH ORDINALITY k (attnum, n)
             JOIN pg_attribute a ON a.attrelid = {relation} AND a.attnum = k.attnum)"
        )
    };
    let constraints = format!(
        "SELECT CAST(c.contype AS TEXT), CAST(t.relname AS TEXT), {}, CAST(r.relname AS TEXT), {},
         CASE c.confdeltype WHEN 'a' THEN 'NO ACTION' WHEN 'c' THEN 'CASCADE' ELSE CAST(c.confdeltype AS TEXT) END
         FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid LEFT JOIN pg_class r ON r.oid = c.confrelid
         WHERE c.connamespace = CAST('public' AS regnamespace) AND c.contype IN ('p', 'u', 'f') AND NOT starts_with(t.relname, '_sqlx_')",
        named("c.conkey", "c.conrelid"),
        named("c.confkey", "c.confrelid"),
    );
    for row in sqlx::query(AssertSqlSafe(constraints))
        .fetch_all(&mut *connection)
        .await
        .unwrap()
    {
        let (table, columns): (&str, &str) = (row.get(1), row.get(2));
        said.insert(match row.get::<&str, _>(0) {
            "p" => format!("{table} has the primary key ({columns})"),
            "u" => format!("{table} ({columns}) is unique"),
            _ => reference(table, columns, row.get(3), row.get(4), row.get(5)),
        });
    }
    let indexes = format!(
        "SELECT CAST(n.relname AS TEXT), i.indisunique, CAST(t.relname AS TEXT), {}, pg_get_expr(i.indpred, i.indrelid)
         FROM pg_index i JOIN pg_class n ON n.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
         WHERE n.relnamespace = CAST('public' AS regnamespace)
         AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u'))",
        named("CAST(i.indkey AS int2[])", "i.indrelid"),
    );
    for row in sqlx::query(AssertSqlSafe(indexes))
        .fetch_all(&mut *connection)
        .await
        .unwrap()
    {
        said.insert(index(
            row.get(0),
            row.get(1),
            row.get(2),
            row.get(3),
            row.get(4),
        ));
    }
    said
}
