//! Who may know whom, and what dependencies may be.

use std::collections::{BTreeMap, BTreeSet};

use spdx::{Expression, ParseMode};

use crate::assert_none;
use crate::metadata::{own, packages, policy};

/// Which of our own crates each may know. Tests may know what they test with.
const EDGES: &[(&str, &[&str])] = &[
    ("systole-core", &[]),
    ("systole-wire", &[]),
    ("systole-store", &["systole-core"]),
    (
        "systole-server",
        &["systole-core", "systole-store", "systole-wire"],
    ),
    (
        "systole",
        &["systole-core", "systole-server", "systole-wire"],
    ),
    ("systole-sim", &["systole-core", "systole-store"]),
    ("systole-testing", &[]),
    (
        "systole-fuzz",
        &[
            "systole",
            "systole-core",
            "systole-server",
            "systole-store",
            "systole-wire",
        ],
    ),
    (
        "systole-bench",
        &[
            "systole-core",
            "systole-server",
            "systole-store",
            "systole-testing",
        ],
    ),
];

/// All that the core may use: nothing that reads a clock, a disk, a network or the environment.
const CORE: &[&str] = &["jiff", "thiserror"];

/// What only these crates may name in their manifests.
const RESERVED: &[(&str, &[&str])] = &[
    ("sqlx", &["systole-store", "systole-testing"]),
    ("askama", &["systole-server"]),
    ("axum", &["systole-server"]),
    ("kube", &[]),
    ("k8s-openapi", &[]),
];

#[test]
fn crates_know_only_whom_they_may() {
    let mut wrong = Vec::new();
    for package in own() {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package.name) else {
            wrong.push(format!(
                "{}: a new crate needs a line in EDGES and in ARCHITECTURE.md",
                package.name
            ));
            continue;
        };
        for (name, kind) in &package.dependencies {
            if name.starts_with("systole") && kind != "dev" && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{} must not know {name}", package.name));
            }
            let reserved = RESERVED.iter().find(|(reserved, _)| reserved == name);
            if reserved.is_some_and(|(_, owners)| !owners.contains(&package.name.as_str())) {
                wrong.push(format!("{} must not use {name}", package.name));
            }
            if package.name == "systole-core" && kind != "dev" && !CORE.contains(&name.as_str()) {
                wrong.push(format!(
                    "systole-core must stay pure, it must not use {name}"
                ));
            }
        }
    }
    assert_none("crates know too much", &wrong);
}

#[test]
fn licences_are_of_the_allowed_ones() {
    let policy = policy();
    let allowed: BTreeSet<&str> = policy["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap())
        .collect();
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for package in packages().values() {
        // `MIT/Apache-2.0` is how old manifests say "or".
        let read = package
            .license
            .as_deref()
            .map(|text| Expression::parse_mode(text, ParseMode::LAX));
        let Some(Ok(expression)) = read else {
            wrong.push(format!(
                "{} {}: no licence that can be read: {:?}",
                package.name, package.version, package.license
            ));
            continue;
        };
        let fits = expression.evaluate(|requirement| {
            let name = requirement.to_string();
            let known = allowed.get(name.as_str());
            used.extend(known.copied());
            known.is_some()
        });
        if !fits {
            wrong.push(format!(
                "{} {}: {expression}",
                package.name, package.version
            ));
        }
    }
    wrong.extend(
        allowed
            .difference(&used)
            .map(|name| format!("{name} is allowed in deny.toml, and nobody uses it")),
    );
    assert_none("licences", &wrong);
}

#[test]
fn everything_comes_from_the_public_registry() {
    let strangers: Vec<String> = packages()
        .values()
        .filter(|package| {
            package.source.as_deref().is_some_and(|source| {
                source != "registry+https://github.com/rust-lang/crates.io-index"
            })
        })
        .map(|package| {
            format!(
                "{} {}: {}",
                package.name,
                package.version,
                package.source.as_deref().unwrap_or_default()
            )
        })
        .collect();
    assert_none("dependencies from elsewhere", &strangers);
}

#[test]
fn a_crate_comes_in_one_version_unless_deny_toml_says_why() {
    let policy = policy();
    let skips = policy["bans"]["skip"].as_array().unwrap();
    let mut unused: BTreeSet<&str> = skips
        .iter()
        .map(|skip| skip["crate"].as_str().unwrap())
        .collect();
    let mut wrong = Vec::new();
    for skip in skips {
        if skip
            .get("reason")
            .and_then(toml::Value::as_str)
            .is_none_or(str::is_empty)
        {
            wrong.push(format!("{} is skipped without a reason", skip["crate"]));
        }
    }
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, version) in packages().keys() {
        versions.entry(name).or_default().push(version);
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        let left: Vec<&str> = versions
            .iter()
            .copied()
            .filter(|version| !is_skipped(name, version, &mut unused))
            .collect();
        if left.len() > 1 {
            wrong.push(format!(
                "{name} comes as {}: see `cargo tree -i {name}@{}`",
                left.join(" and "),
                left[0]
            ));
        }
    }
    wrong.extend(
        unused
            .iter()
            .map(|entry| format!("{entry} is skipped in deny.toml and matches no duplicate")),
    );
    assert_none("duplicate dependencies", &wrong);
}

/// `name@1.2` stands for every 1.2.x, as a requirement in a manifest does.
fn is_skipped(name: &str, version: &str, unused: &mut BTreeSet<&str>) -> bool {
    let matching = unused.iter().copied().find(|entry| {
        entry.split_once('@').is_some_and(|(skipped, prefix)| {
            skipped == name
                && version
                    .strip_prefix(prefix)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    });
    matching.is_some_and(|entry| unused.remove(entry))
}
