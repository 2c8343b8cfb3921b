//! Whether the links in the documents lead somewhere.

use crate::{Outcome, steps};
use pulldown_cmark::{Event, Parser, Tag, TagEnd};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

/// Directories that hold no documents of ours.
const NOT_OURS: [&str; 4] = ["target", ".git", ".zhost", "corpus"];

/// A document: where it links to, and what can be linked to in it.
#[derive(Default)]
struct Document {
    links: Vec<String>,
    anchors: BTreeSet<String>,
}

/// Follows all links that stay in the repository.
pub fn run() -> Outcome {
    let root = steps::root();
    let mut documents = BTreeMap::new();
    for file in files(&root)? {
        let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let below_root = file.strip_prefix(&root).unwrap_or(&file).to_owned();
        documents.insert(below_root, Document::read(&text));
    }
    let links: usize = documents.values().map(|document| document.links.len()).sum();
    println!("{links} links in {} documents", documents.len());
    let dead = dead(&documents, |path| root.join(path).exists());
    if dead.is_empty() { Ok(()) } else { Err(format!("links that lead nowhere:\n  {}", dead.join("\n  "))) }
}

/// All documents below a directory.
fn files(root: &Path) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        let entries = fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let is_ours = !NOT_OURS.iter().any(|name| path.ends_with(name));
            if path.is_dir() && is_ours {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

impl Document {
    fn read(text: &str) -> Self {
        let mut document = Self::default();
        let mut heading: Option<String> = None;
        for event in Parser::new(text) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        *heading += &text;
                    }
                }
                Event::End(TagEnd::Heading(_)) => document.add_anchor(&heading.take().unwrap_or_default()),
                _ => {}
            }
        }
        document
    }

    /// A heading can be linked to by its words; of several alike, by a number behind them.
    fn add_anchor(&mut self, heading: &str) {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        let anchor = kept.collect::<String>().to_lowercase().replace(' ', "-");
        let names = std::iter::once(anchor.clone()).chain((1..).map(|number| format!("{anchor}-{number}")));
        let free = names.into_iter().find(|name| !self.anchors.contains(name));
        self.anchors.extend(free);
    }
}

/// Links to nothing, of documents by their place below the root.
fn dead(documents: &BTreeMap<PathBuf, Document>, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut dead = Vec::new();
    for (place, document) in documents {
        for link in document.links.iter().filter(|link| !is_elsewhere(link)) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { Some(place.clone()) } else { resolve(place, path) };
            let is_there = target.as_deref().is_some_and(&exists);
            let has_anchor = |target: &PathBuf| {
                documents.get(target).is_some_and(|document| document.anchors.contains(anchor))
            };
            if !is_there || !anchor.is_empty() && !target.as_ref().is_some_and(has_anchor) {
                dead.push(format!("{}: {link}", place.display()));
            }
        }
    }
    dead
}

/// Whether a link leaves the repository.
fn is_elsewhere(link: &str) -> bool {
    ["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme))
}

/// What a link in the document at `place` means, below the root; nothing if it leaves that.
fn resolve(place: &Path, link: &str) -> Option<PathBuf> {
    let mut path = place.parent()?.to_owned();
    for component in Path::new(link).components() {
        match component {
            Component::ParentDir => path.pop().then_some(())?,
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead_links(readme: &str) -> Vec<String> {
        let other = "# Other things\n\n## `code` & more!\n\n## Twice\n\n## Twice\n";
        let documents = [("README.md", readme), ("docs/other.md", other)];
        let documents = documents.map(|(place, text)| (PathBuf::from(place), Document::read(text))).into();
        dead(&documents, |path| ["README.md", "docs", "docs/other.md"].contains(&path.to_str().unwrap()))
    }

    #[test]
    fn links_to_files_folders_and_headings_are_followed() {
        let good = "# Top\n[a](docs) [b](docs/other.md#code--more) [c](#top) [d](docs/../README.md) \
                    [e](https://example.org/nowhere) [f](docs/other.md#twice-1)";
        assert_eq!(dead_links(good), [""; 0]);
    }

    #[test]
    fn links_to_nothing_are_found() {
        for link in ["gone.md", "docs/other.md#gone", "#gone", "docs/other.md#twice-2", "/docs", "../docs"] {
            assert_eq!(dead_links(&format!("[text]({link})")), [format!("README.md: {link}")]);
        }
        assert_eq!(dead_links("[text][name]\n\n[name]: gone.md").len(), 1);
        assert_eq!(dead_links("`[text](gone.md)`\n\n    [text](gone.md)"), [""; 0], "that is code");
    }
}
