//! `cargo metadata`, read as far as the rules need it.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::root;

/// A package that is compiled into something here.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence as its manifest says it.
    pub license: Option<String>,
    /// Where it comes from; `None` for our own.
    pub source: Option<String>,
    /// What it names in its own manifest, tests and build included: name and kind (`normal`, `dev`, `build`).
    pub dependencies: Vec<(String, String)>,
}

/// Every package that any target of deny.toml needs, by name and version.
pub fn packages() -> &'static BTreeMap<(String, String), Package> {
    static PACKAGES: OnceLock<BTreeMap<(String, String), Package>> = OnceLock::new();
    PACKAGES.get_or_init(|| {
        policy()["graph"]["targets"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(of_target)
            .collect()
    })
}

/// Our own.
pub fn own() -> impl Iterator<Item = &'static Package> {
    packages()
        .values()
        .filter(|package| package.source.is_none())
}

/// deny.toml.
pub fn policy() -> toml::Value {
    toml::from_str(&std::fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap()
}

fn of_target(target: &toml::Value) -> Vec<((String, String), Package)> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--all-features",
            "--filter-platform",
            target.as_str().unwrap(),
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(read)
        .collect()
}

fn read(package: &Value) -> ((String, String), Package) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    let package = Package {
        name: text(&package["name"]).unwrap(),
        version: text(&package["version"]).unwrap(),
        license: text(&package["license"]),
        source: text(&package["source"]),
        dependencies: dependencies
            .map(|one| {
                (
                    text(&one["name"]).unwrap(),
                    text(&one["kind"]).unwrap_or_else(|| "normal".to_owned()),
                )
            })
            .collect(),
    };
    ((package.name.clone(), package.version.clone()), package)
}
