//! The named blocks of `docs/recipes.md`, as they stand there.

use std::path::Path;

/// A fenced block: ` ```language name`.
pub struct Block {
    pub language: String,
    pub name: String,
    pub text: String,
}

/// Every block of the page, in its order.
pub fn all() -> Vec<Block> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .join("docs/recipes.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut found: Vec<Block> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match (line.strip_prefix("```"), inside) {
            (Some(words), false) => {
                let (language, name) = words
                    .split_once(' ')
                    .unwrap_or_else(|| panic!("a block without a name: {line}"));
                found.push(Block {
                    language: language.to_owned(),
                    name: name.to_owned(),
                    text: String::new(),
                });
                inside = true;
            }
            (Some(_), true) => inside = false,
            (None, true) => {
                let block = found.last_mut().unwrap();
                block.text += line;
                block.text.push('\n');
            }
            (None, false) => {}
        }
    }
    assert!(!inside, "the last block has no end");
    found
}

/// One of them.
pub fn named(name: &str) -> Block {
    all()
        .into_iter()
        .find(|block| block.name == name)
        .unwrap_or_else(|| panic!("docs/recipes.md has no block {name}"))
}

/// The text of one.
pub fn text(name: &str) -> String {
    named(name).text
}
