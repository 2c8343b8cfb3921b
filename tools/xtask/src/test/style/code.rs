//! A file of Rust, as far as the rules of the house are concerned: its paths and its functions.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};

/// Words that a path may follow, as in `use ::std::fs`, but that are none of its parts.
const KEYWORDS: [&str; 14] = [
    "const", "dyn", "else", "for", "if", "impl", "in", "match", "mut", "ref", "return", "use", "where",
    "while",
];

/// What is in a file.
pub struct Code {
    tokens: TokenStream,
    /// Paths as they are written, those of `use` spelled out, and the lines they stand in.
    pub paths: Vec<(String, usize)>,
}

/// A function.
pub struct Function {
    pub name: String,
    /// From `fn` to its last bracket.
    pub lines: usize,
}

impl Code {
    /// Reads a file's text.
    pub fn read(text: &str) -> Result<Self, String> {
        let tokens: TokenStream = text
            .parse()
            .map_err(|e: proc_macro2::LexError| format!("line {}: {e}", e.span().start().line))?;
        let mut paths = Vec::new();
        find_paths(&tokens, "", &mut paths);
        Ok(Self { tokens, paths })
    }

    /// All functions that have a body.
    pub fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        find_functions(&self.tokens, &mut functions);
        functions
    }
}

/// Finds paths; `prefix` stands before each, as in the brackets of a `use`.
fn find_paths(tokens: &TokenStream, prefix: &str, found: &mut Vec<(String, usize)>) {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Ident(word) if KEYWORDS.iter().any(|keyword| word == keyword) => {}
            TokenTree::Ident(first) if *first != "as" => at = follow(&tokens, at, first, prefix, found),
            // A name that something gets instead is no path.
            TokenTree::Ident(_) => at += 1,
            TokenTree::Group(group) => find_paths(&group.stream(), "", found),
            TokenTree::Punct(star) if star.as_char() == '*' && !prefix.is_empty() => {
                found.push((format!("{prefix}*"), star.span().start().line));
            }
            _ => {}
        }
    }
}

/// Follows a path from its first word, which stands before `at`; gives where it ends.
fn follow(
    tokens: &[TokenTree],
    mut at: usize,
    first: &Ident,
    prefix: &str,
    found: &mut Vec<(String, usize)>,
) -> usize {
    let line = first.span().start().line;
    let mut path = format!("{prefix}{first}");
    while is_colon(tokens.get(at)) && is_colon(tokens.get(at + 1)) {
        match tokens.get(at + 2) {
            Some(TokenTree::Ident(word)) => path += &format!("::{word}"),
            Some(TokenTree::Group(group)) if is_braces(group) => {
                find_paths(&group.stream(), &format!("{path}::"), found);
                return at + 3;
            }
            Some(TokenTree::Punct(star)) if star.as_char() == '*' => path += "::*",
            _ => break,
        }
        at += 3;
    }
    // In the brackets of a `use`, it is the module itself.
    found.push((path.strip_suffix("::self").unwrap_or(&path).to_owned(), line));
    at
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}

fn is_braces(group: &Group) -> bool {
    group.delimiter() == Delimiter::Brace
}

fn find_functions(tokens: &TokenStream, found: &mut Vec<Function>) {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(word) if *word == "fn" => found.extend(function(word, &tokens[index + 1..])),
            TokenTree::Group(group) => find_functions(&group.stream(), found),
            _ => {}
        }
    }
}

/// The function that begins here, if it has a name and a body.
fn function(begin: &Ident, rest: &[TokenTree]) -> Option<Function> {
    let TokenTree::Ident(name) = rest.first()? else { return None };
    let is_end = |token: &&TokenTree| match token {
        TokenTree::Group(group) => is_braces(group),
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    };
    let TokenTree::Group(body) = rest.iter().find(is_end)? else { return None };
    let lines = body.span_close().end().line + 1 - begin.span().start().line;
    Some(Function { name: name.to_string(), lines })
}
