//! Bounded reading of YAML from strangers: a tree of texts, lists and mappings, and nothing else.
//!
//! Anchors, aliases, tags, merge keys, duplicate keys and second documents are refused. What a reader does not take
//! from a mapping is an error that names it, so nothing is ignored silently.

use crate::error::MexError;
use granit_parser::{Event, Parser, ScanError, Span, StrInput};
use std::{collections::BTreeMap, fmt::Display, str::FromStr};
use zhost_base::Shown;

/// Size of one YAML file.
const SIZE_MAX_BYTES: usize = 256 * 1024;
/// Lists and mappings inside each other.
const DEPTH_MAX: usize = 16;
/// Texts, lists and mappings in one file.
const NODES_MAX: usize = 20_000;

/// A node of the tree, with the line it starts at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    line: usize,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Text(String),
    List(Vec<Node>),
    Mapping(BTreeMap<String, Node>),
}

/// What is wrong, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError(String);

impl Display for YamlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl YamlError {
    /// An error in these words.
    pub(crate) fn new(reason: String) -> Self {
        Self(reason)
    }

    /// The error as one of a package's file.
    pub(crate) fn in_file(self, file: &str) -> MexError {
        MexError::Yaml { file: file.into(), reason: self.0 }
    }
}

fn error(line: usize, reason: impl Display) -> YamlError {
    YamlError(format!("{reason} (line {line})"))
}

/// Reads one document.
pub fn parse(bytes: &[u8]) -> Result<Node, YamlError> {
    if bytes.len() > SIZE_MAX_BYTES {
        return Err(YamlError(format!("has more than {SIZE_MAX_BYTES} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| YamlError(format!("is not UTF-8: {e}")))?;
    let mut reader = Reader { events: Parser::new_from_str(text), nodes: 0 };
    let node = loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamStart | Event::DocumentStart(..) => {}
            other => break reader.node(other, &span, 0)?,
        }
    };
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(node),
            Event::DocumentEnd => {}
            _ => return Err(error(span.start.line(), "only one document is allowed")),
        }
    }
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        let scan =
            |e: ScanError| error(e.marker().line(), e.info().lines().next().unwrap_or("it is not YAML"));
        self.events.next().ok_or_else(|| YamlError("it ends too soon".into()))?.map_err(scan)
    }

    /// The node that starts with `event`.
    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node, YamlError> {
        let line = span.start.line();
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return Err(error(line, "it holds too much, or too deep"));
        }
        let plain = |anchor: usize, tagged: bool| match (anchor, tagged) {
            (0, false) => Ok(()),
            _ => Err(error(line, "anchors and tags are not allowed")),
        };
        let content = match event {
            Event::Scalar(text, _, anchor, tag) => {
                plain(anchor, tag.is_some())?;
                Content::Text(text.into_owned())
            }
            Event::SequenceStart(_, anchor, tag) => {
                plain(anchor, tag.is_some())?;
                Content::List(self.list(depth)?)
            }
            Event::MappingStart(_, anchor, tag) => {
                plain(anchor, tag.is_some())?;
                Content::Mapping(self.mapping(depth)?)
            }
            Event::Alias(_) => return Err(error(line, "aliases are not allowed")),
            _ => return Err(error(line, "something is missing here")),
        };
        Ok(Node { line, content })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, &span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<BTreeMap<String, Node>, YamlError> {
        let mut entries = BTreeMap::new();
        loop {
            let (event, span) = self.next()?;
            if let Event::MappingEnd = event {
                return Ok(entries);
            }
            let key = self.node(event, &span, depth + 1)?;
            let Content::Text(name) = key.content else {
                return Err(error(key.line, "a key must be a text"));
            };
            let (event, span) = self.next()?;
            let value = self.node(event, &span, depth + 1)?;
            if entries.insert(name.clone(), value).is_some() {
                return Err(error(key.line, format!("the key {} occurs twice", Shown(&name))));
            }
        }
    }
}

impl Node {
    /// The line it starts at.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The node as text.
    pub fn text(self) -> Result<String, YamlError> {
        match self.content {
            Content::Text(text) => Ok(text),
            _ => Err(error(self.line, "expected a text")),
        }
    }

    /// The node as something that is written as text.
    pub fn value<T: FromStr>(self) -> Result<T, YamlError>
    where
        T::Err: Display,
    {
        let line = self.line;
        let text = self.text()?;
        text.parse().map_err(|e| error(line, format!("{}: {e}", Shown(&text))))
    }

    /// Insists on one text.
    pub fn expect(self, expected: &str) -> Result<(), YamlError> {
        let line = self.line;
        match self.text()? {
            text if text == expected => Ok(()),
            text => Err(error(line, format!("{}: expected {expected}", Shown(&text)))),
        }
    }

    /// The node as a list.
    pub fn list(self) -> Result<Vec<Self>, YamlError> {
        match self.content {
            Content::List(items) => Ok(items),
            _ => Err(error(self.line, "expected a list")),
        }
    }

    /// The node as texts: a list of them, or one alone.
    pub fn text_or_list(self) -> Result<Vec<String>, YamlError> {
        match self.content {
            Content::Text(text) => Ok(vec![text]),
            _ => self.list()?.into_iter().map(Self::text).collect(),
        }
    }

    /// The node as a mapping.
    pub fn mapping(self) -> Result<Mapping, YamlError> {
        match self.content {
            Content::Mapping(entries) => Ok(Mapping { line: self.line, entries, known: Vec::new() }),
            _ => Err(error(self.line, "expected a mapping")),
        }
    }
}

/// A mapping whose entries are taken one by one; [`Mapping::finish`] refuses what is left.
#[derive(Debug)]
pub struct Mapping {
    line: usize,
    entries: BTreeMap<String, Node>,
    known: Vec<&'static str>,
}

impl Mapping {
    /// Takes an entry that may be absent.
    pub fn optional(&mut self, key: &'static str) -> Option<Node> {
        self.known.push(key);
        self.entries.remove(key)
    }

    /// Takes an entry that must be there.
    pub fn required(&mut self, key: &'static str) -> Result<Node, YamlError> {
        self.optional(key).ok_or_else(|| error(self.line, format!("the key {key} is missing")))
    }

    /// Takes the value of an entry that must be there.
    pub fn value<T: FromStr>(&mut self, key: &'static str) -> Result<T, YamlError>
    where
        T::Err: Display,
    {
        self.required(key)?.value()
    }

    /// The entries not taken, in order, as names with texts.
    pub fn values<K: FromStr>(self) -> Result<Vec<(K, String)>, YamlError>
    where
        K::Err: Display,
    {
        let line = self.line;
        let entry = |(key, node): (String, Node)| {
            let name = key.parse().map_err(|e| error(line, format!("{}: {e}", Shown(&key))))?;
            Ok((name, node.text()?))
        };
        self.entries.into_iter().map(entry).collect()
    }

    /// The entries not taken, in order, whatever they are.
    pub fn into_entries(self) -> impl Iterator<Item = (String, Node)> {
        self.entries.into_iter()
    }

    /// Refuses entries that were not taken.
    pub fn finish(self) -> Result<(), YamlError> {
        match self.entries.into_iter().next() {
            None => Ok(()),
            Some((key, node)) => Err(error(
                node.line,
                format!("unknown key {}; expected one of {}", Shown(&key), self.known.join(", ")),
            )),
        }
    }
}

/// A text as a YAML double-quoted scalar.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
