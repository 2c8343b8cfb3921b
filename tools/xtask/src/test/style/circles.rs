//! Modules of a crate that use each other in a circle: none of them can be understood, or changed, by itself.

use super::code::Code;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Which modules below a crate's root use which; what only tests use counts, too.
#[derive(Default)]
pub struct Modules(BTreeMap<String, BTreeSet<String>>);

impl Modules {
    /// Takes in a file of the crate, of which this is its place below `src`.
    pub fn take(&mut self, place: &Path, code: &Code) {
        let mut parts = place.components().filter_map(|part| part.as_os_str().to_str());
        let (Some(first), is_folder) = (parts.next(), parts.next().is_some()) else { return };
        let module = first.strip_suffix(".rs").unwrap_or(first);
        // A module of tests is above all others.
        if ["lib", "main", "tests", "bin"].contains(&module) {
            return;
        }
        let used = self.0.entry(module.to_owned()).or_default();
        let absolute = code.paths.iter().filter_map(|(path, _)| {
            let beside = if is_folder { None } else { path.strip_prefix("super::") };
            path.strip_prefix("crate::").or(beside)
        });
        used.extend(absolute.filter_map(|path| path.split("::").next()).map(str::to_owned));
    }

    /// The modules that lead back to themselves.
    pub fn circle(&self) -> Vec<&str> {
        let leads_back = |module: &&String| self.reached_from(module).contains(module.as_str());
        self.0.keys().filter(leads_back).map(String::as_str).collect()
    }

    /// All modules that one uses, or that those use, without itself unless they do.
    fn reached_from<'a>(&'a self, module: &'a str) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&str> = self.used_by(module).collect();
        while let Some(next) = open.pop() {
            if reached.insert(next) {
                open.extend(self.used_by(next));
            }
        }
        reached
    }

    fn used_by<'a>(&'a self, module: &'a str) -> impl Iterator<Item = &'a str> {
        let used = self.0.get(module).into_iter().flatten().map(String::as_str);
        used.filter(move |other| *other != module && self.0.contains_key(*other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circle(files: &[(&str, &str)]) -> Vec<String> {
        let mut modules = Modules::default();
        files.iter().for_each(|(place, text)| modules.take(Path::new(place), &Code::read(text).unwrap()));
        modules.circle().into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn what_leads_back_is_a_circle_however_long_and_however_it_is_spelled() {
        let long = [
            ("a.rs", "use crate::{b::{B, C}, d};"),
            ("b.rs", "fn f() { super::c::f() }"),
            ("c/x.rs", "use crate::a::A;"),
            ("d.rs", ""),
        ];
        assert_eq!(circle(&long), ["a", "b", "c"]);
    }

    #[test]
    fn who_uses_itself_or_the_root_or_what_is_below_is_in_no_circle() {
        let fine = [
            ("lib.rs", "use crate::a::A;"),
            ("a.rs", "use crate::{Thing, b::B}; use super::b::C;"),
            ("a/x.rs", "use super::A; use crate::a::A; use super::super::b::B;"),
            ("b.rs", "use b::{self}; use std::fmt; use crate::elsewhere;"),
        ];
        assert_eq!(circle(&fine), [""; 0]);
    }
}
