//! What an operator means by a name, an id, or the beginning of an id; and what he may have meant.

/// The least of an id that stands for the whole.
const PREFIX_MIN: usize = 4;
/// How many are named where several could be meant.
const NAMED_MAX: usize = 8;
/// The longest name that something similar is looked for, and that is repeated as it is.
const NAME_MAX: usize = 64;

/// Something an operator can name.
pub(crate) struct Named<T> {
    pub name: String,
    pub id: String,
    pub thing: T,
}

/// What of a kind is looked for: how it is called, and which command lists them.
pub(crate) struct Kind {
    pub one: &'static str,
    pub several: &'static str,
    pub list: &'static str,
}

/// Finds what is meant.
pub(crate) fn find<T>(kind: &Kind, meant: &str, all: impl Iterator<Item = Named<T>>) -> Result<T, String> {
    let Kind { one, several, list } = kind;
    let all: Vec<Named<T>> = all.collect();
    // People write ids as they see them, cut short.
    let prefix = meant.trim_end_matches(['.', '…', '-']).to_ascii_lowercase();
    let is_prefix =
        prefix.len() >= PREFIX_MIN && prefix.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let called = |named: &Named<T>| named.name == meant || named.id == meant;
    let begins = |named: &Named<T>| is_prefix && named.id.starts_with(&prefix);
    let by_name = all.iter().any(called);
    let similar = nearest(meant, all.iter().map(|named| named.name.as_str()));
    let hint = similar.map_or_else(|| ";".to_owned(), |name| format!("; did you mean {name}?"));
    let (mut found, _): (Vec<Named<T>>, _) =
        all.into_iter().partition(|named| if by_name { called(named) } else { begins(named) });
    let meant: String = meant.chars().take(NAME_MAX).collect();
    if found.len() > 1 {
        let named: Vec<String> =
            found.iter().take(NAMED_MAX).map(|found| format!("{} ({})", found.name, found.id)).collect();
        let more = if found.len() > NAMED_MAX { ", …" } else { "" };
        let what = if by_name { "are called" } else { "have an id that begins with" };
        return Err(format!(
            "several {several} {what} '{meant}': {}{more}; use the id, or as much of it as only one has",
            named.join(", ")
        ));
    }
    let unknown = || format!("there is no {one} '{meant}'{hint} `{list}` shows those there are");
    found.pop().map(|found| found.thing).ok_or_else(unknown)
}

/// The name that is most like this one, if one is like it at all.
pub(crate) fn nearest<'a>(meant: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if meant.len() > NAME_MAX {
        return None;
    }
    let allowed = (meant.chars().count() / 3).clamp(1, 3);
    let near = names.filter(|name| name.len() <= NAME_MAX).map(|name| (distance(meant, name), name));
    near.filter(|(distance, name)| *distance <= allowed && *distance < name.chars().count())
        .min()
        .map(|(_, name)| name)
}

/// How many letters have to be added, dropped, changed or swapped with the next to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<Vec<char>>();
    let (a, b) = (letters(a), letters(b));
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = change.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZHOST: Kind = Kind { one: "zhost", several: "zhosts", list: "zctl cluster zhosts" };

    fn look(meant: &str) -> Result<usize, String> {
        let all = [
            ("attic", "a1b2c3d4e5f60718"),
            ("zhost", "a1b2ffff00000000"),
            ("zhost", "00112233445566ff"),
            ("beef", "7777777777777777"),
            ("garden", "beef000000000000"),
        ];
        let named = all.iter().enumerate().map(|(thing, (name, id))| Named {
            name: (*name).into(),
            id: (*id).into(),
            thing,
        });
        find(&ZHOST, meant, named)
    }

    #[test]
    fn names_ids_and_beginnings_of_ids_are_found() {
        for (meant, found) in [
            ("attic", 0),
            ("a1b2c3d4e5f60718", 0),
            ("a1b2c3d4", 0),
            ("A1B2C3D4", 0),
            ("a1b2c3d4-...", 0),
            ("a1b2c3d4…", 0),
            ("0011", 2),
            ("garden", 4),
        ] {
            assert_eq!(look(meant), Ok(found), "{meant}");
        }
        assert_eq!(look("beef"), Ok(3), "a name comes before the beginning of an id");
        assert!(look("001").is_err(), "too short to stand for an id");
        assert!(look("").is_err() && look("...").is_err());
    }

    #[test]
    fn where_several_could_be_meant_all_are_named() {
        let said = look("zhost").unwrap_err();
        assert_eq!(
            said,
            "several zhosts are called 'zhost': zhost (a1b2ffff00000000), zhost (00112233445566ff); use the id, or as \
             much of it as only one has"
        );
        let said = look("a1b2").unwrap_err();
        assert!(said.contains("begins with 'a1b2': attic (a1b2c3d4e5f60718), zhost"), "{said}");
        let many = (0..100).map(|thing| Named { name: "z".into(), id: format!("{thing:016x}"), thing });
        let said = find(&ZHOST, "z", many).unwrap_err();
        assert!(said.len() < 500 && said.contains(", …;"), "{said}");
    }

    #[test]
    fn near_misses_are_guessed_and_others_are_not() {
        for (meant, guess) in [("gardn", "garden"), ("gadren", "garden"), ("Attik", "attic"), ("bee", "beef")]
        {
            let said = look(meant).unwrap_err();
            assert!(said.contains(&format!("did you mean {guess}?")), "{said}");
        }
        for meant in ["kitchen", "q", "", &"x".repeat(5000)] {
            let said = look(meant).unwrap_err();
            assert!(!said.contains("did you mean") && said.len() < 200, "{said}");
        }
    }

    #[test]
    fn distances_are_what_they_are_said_to_be() {
        for (a, b, wanted) in
            [("", "", 0), ("", "abc", 3), ("ab", "ba", 1), ("kitten", "sitting", 3), ("é", "e", 1)]
        {
            assert_eq!(distance(a, b), wanted, "{a} {b}");
            assert_eq!(distance(b, a), wanted, "{b} {a}");
        }
    }
}
