//! Text that others wrote, on its way to a terminal.
//!
//! Zhosts, spaces, files and command lines hold whatever somebody put there: sequences that move the cursor, marks that
//! turn the direction of reading, a hundred screens of noise. All that `zctl` prints passes here.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Characters of one value that are shown, such as a name, a log line or a reason.
const VALUE_MAX: usize = 1000;
/// Characters of a line of a usage error.
const LINE_MAX: usize = 300;
/// Characters of a whole error.
const ERROR_MAX: usize = 4000;

/// Whether a character does something else than being seen.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

fn escape(text: &str, keeps: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) && !keeps(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The beginning of a text, and how much is left out.
fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}… ({} more)", &text[..at], text[at..].chars().count()),
    }
}

/// Text of several lines, as a terminal may be given it.
pub fn lines(text: &str) -> String {
    escape(text, |c| c == '\n')
}

/// What is wrong, at a length that people read.
pub fn error(text: &str) -> String {
    cut(&lines(text), ERROR_MAX)
}

/// What a command line was refused for: it repeats what was typed.
pub fn usage(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| cut(&lines(line), LINE_MAX)).collect();
    lines.join("\n") + "\n"
}

/// One value, on one line.
pub fn value(text: &str) -> String {
    escape(&cut(text, VALUE_MAX), |_| false)
}

/// JSON in which every character that acts is written as an escape: the data stays what it is.
pub fn json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut units = [0; 2];
    for c in text.chars() {
        if acts(c) && c != '\n' {
            c.encode_utf16(&mut units).iter().for_each(|unit| shown += &format!("\\u{unit:04x}"));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A reply of which every text is a [`value`]: tables and paragraphs made of it are as they look.
pub fn reply<T: Serialize + DeserializeOwned>(reply: T) -> Result<T, String> {
    let clean = || {
        let mut reply = serde_json::to_value(reply)?;
        visit(&mut reply);
        serde_json::from_value(reply)
    };
    clean().map_err(|error: serde_json::Error| format!("the answer makes no sense: {error}"))
}

fn visit(part: &mut Value) {
    match part {
        Value::String(text) => *text = value(text),
        Value::Array(parts) => parts.iter_mut().for_each(visit),
        Value::Object(parts) => parts.values_mut().for_each(visit),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zhost_control::protocol::{LogLine, Reply, Space};

    const HOSTILE: &str = "a\x1b[2Jb\rc\u{202e}d\u{9b}31me\u{200b}f\tg\nh\u{e0041}";

    fn is_plain(text: &str) -> bool {
        !text.contains(|c: char| c != '\n' && acts(c))
    }

    #[test]
    fn what_acts_is_shown_and_does_not_act() {
        assert_eq!(value(HOSTILE), "a\\u{1b}[2Jb\\rc\\u{202e}d\\u{9b}31me\\u{200b}f\\tg\\nh\\u{e0041}");
        assert!(is_plain(&lines(HOSTILE)) && lines(HOSTILE).contains('\n'));
        let said = "Grüße, 温度 21 °C – naïve ☕ 👍";
        assert_eq!((value(said), lines(said), json(said)), (said.into(), said.into(), said.into()));
    }

    #[test]
    fn length_is_bounded_and_says_by_how_much() {
        assert_eq!(value(&"x".repeat(VALUE_MAX)), "x".repeat(VALUE_MAX));
        assert_eq!(value(&"ü".repeat(5000)), format!("{}… (4000 more)", "ü".repeat(VALUE_MAX)));
        assert!(error(&"\x1b".repeat(100_000)).len() < ERROR_MAX + 100);
        let typed = format!("error: {}\n\nUsage: zctl", "\x1b".repeat(5000));
        assert!(usage(&typed).len() < 500 && usage(&typed).ends_with("\n\nUsage: zctl\n"));
    }

    #[test]
    fn json_stays_the_same_data() {
        let data = serde_json::json!({ "text": HOSTILE, "list": ["\u{feff}", "ü"] });
        let shown = json(&serde_json::to_string_pretty(&data).unwrap());
        assert!(is_plain(&shown), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), data);
    }

    #[test]
    fn every_text_of_a_reply_is_cleaned() {
        let hostile = || HOSTILE.to_owned();
        let space = Space {
            space: hostile(),
            zhost: hostile(),
            zhost_id: hostile(),
            topology: hostile(),
            state: hostile(),
            restarts: u32::MAX,
        };
        let log = LogLine { unix_ms: u64::MAX, level: hostile(), text: hostile() };
        for said in [Reply::Spaces(vec![space]), Reply::Logs(vec![log]), Reply::Refused(hostile())] {
            let Ok(cleaned) = reply(said) else { panic!("it is a reply") };
            let texts = serde_json::to_string(&cleaned).unwrap();
            assert!(!texts.contains("\\u00") && is_plain(&texts), "{texts}");
            assert!(texts.contains("202e"), "{texts}");
        }
    }
}
