//! Where settings come from: flags over environment over the config file over defaults.

mod table;

use crate::files;
use litemap::LiteMap;
use std::{
    env,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};
pub use table::items;
use table::{Kind, RELATIONS, Relation, SETTINGS, Setting};
use zhost_base::Shown;
use zhost_mex::yaml;

/// Size of a config file.
const CONFIG_SIZE_MAX_BYTES: usize = 64 * 1024;

/// Why the settings cannot be used: what, where it came from, and what to do.
#[derive(Debug)]
pub struct SettingsError(pub String);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the command line asks for.
pub enum Invocation {
    Run(Settings),
    Help,
    Version,
    /// Whether the program works on this machine, and what a start with these settings would say.
    Check(Settings),
}

/// Values by name, each with where it came from.
#[derive(Default)]
pub struct Settings(LiteMap<&'static str, (String, String)>);

fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

fn known(name: &str) -> Option<&'static str> {
    setting(name).map(|setting| setting.name)
}

/// Several complaints as one, a line each.
pub fn together(complaints: Vec<SettingsError>) -> Result<(), SettingsError> {
    let lines: Vec<String> = complaints.into_iter().map(|complaint| complaint.0).collect();
    if lines.is_empty() { Ok(()) } else { Err(SettingsError(lines.join("\n"))) }
}

impl Settings {
    /// Gathers the settings of this process.
    pub fn gather(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, SettingsError> {
        let mut flags = Self::default();
        let mut config = env::var("ZHOST_CONFIG").ok();
        let mut is_check = false;
        let mut parser = lexopt::Parser::from_iter(args);
        let wrong =
            |error: lexopt::Error| SettingsError(format!("{}; see zhost --help", plain(&error.to_string())));
        while let Some(arg) = parser.next().map_err(wrong)? {
            let name = match arg {
                lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => return Ok(Invocation::Help),
                lexopt::Arg::Long("version") | lexopt::Arg::Short('V') => return Ok(Invocation::Version),
                lexopt::Arg::Long("check") => {
                    is_check = true;
                    continue;
                }
                lexopt::Arg::Long("config") => None,
                lexopt::Arg::Long(name) => {
                    Some(known(name).ok_or_else(|| wrong(lexopt::Arg::Long(name).unexpected()))?)
                }
                other => return Err(wrong(other.unexpected())),
            };
            let value = parser.value().map_err(wrong)?.to_string_lossy().into_owned();
            match name {
                Some(name) => flags.put(name, value, format!("flag --{name}")),
                None => config = Some(value),
            }
        }
        let mut settings = match config {
            Some(file) => Self::from_file(Path::new(&file))?,
            None => Self::default(),
        };
        for Setting { name, .. } in &SETTINGS {
            let variable = format!("ZHOST_{}", name.to_uppercase().replace('-', "_"));
            if let Ok(value) = env::var(&variable) {
                settings.put(name, value, format!("environment variable {variable}"));
            }
        }
        settings.0.extend(flags.0);
        Ok(if is_check { Invocation::Check(settings) } else { Invocation::Run(settings) })
    }

    /// Takes these over whatever was set before, if there are such settings.
    pub fn overrule(&mut self, told: Vec<(String, String)>, source: &str) -> Result<(), SettingsError> {
        for (name, value) in told {
            let known = known(&name);
            let name = known
                .ok_or_else(|| SettingsError(format!("{source}: there is no setting {}", Shown(&name))))?;
            self.put(name, value, format!("{name} on {source}"));
        }
        Ok(())
    }

    /// Takes from this file what is not set otherwise.
    pub fn fill_from(&mut self, file: &Path) -> Result<(), SettingsError> {
        for (name, value) in Self::from_file(file)?.0 {
            self.0.entry(name).or_insert(value);
        }
        Ok(())
    }

    fn put(&mut self, name: &'static str, value: String, source: String) {
        self.0.insert(name, (value, source));
    }

    /// Reads a config file.
    pub fn from_file(file: &Path) -> Result<Self, SettingsError> {
        let shown = plain(&file.display().to_string());
        let error = |reason: String| SettingsError(format!("config file {shown}: {reason}"));
        let bytes = files::read(file, CONFIG_SIZE_MAX_BYTES).map_err(|e| error(e.to_string()))?;
        let entries = yaml::parse(&bytes).and_then(yaml::Node::mapping).map_err(|e| error(e.to_string()))?;
        let (mut settings, mut complaints) = (Self::default(), Vec::new());
        for (name, value) in entries.into_entries() {
            let line = value.line();
            match (known(&name), value.text_or_list()) {
                (Some(name), Ok(texts)) => {
                    settings.put(name, texts.join(","), format!("{name} in {shown}, line {line}"));
                }
                (None, _) => complaints.push(error(format!(
                    "there is no setting {} (line {line}); see zhost --help",
                    Shown(&name)
                ))),
                (Some(name), Err(reason)) => complaints.push(error(format!("{name}: {reason}"))),
            }
        }
        together(complaints).map(|()| settings)
    }

    /// Whether nothing is set but defaults.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything that is wrong with the values: each by itself, and one with another.
    pub fn complaints(&self) -> Vec<SettingsError> {
        let set = SETTINGS.iter().filter(|setting| self.0.get(setting.name).is_some());
        let mut complaints: Vec<SettingsError> = set.filter_map(|setting| self.complaint(setting)).collect();
        for Relation { small, times, large, why } in &RELATIONS {
            let (Ok(less), Ok(more)) = (self.number(small), self.number(large)) else { continue };
            if less.saturating_mul(*times) > more {
                let reason = format!("{large} ({more}) must be at least {times} times as long: {why}");
                complaints.push(self.complain(small, &reason));
            }
        }
        complaints
    }

    fn complaint(&self, setting: &Setting) -> Option<SettingsError> {
        let name = setting.name;
        let text = self.text(name)?;
        let may_be_empty = matches!(setting.kind, Kind::MaybePath | Kind::MaybeText(_));
        if text.trim().is_empty() {
            let default = setting.default.filter(|default| !default.is_empty());
            let default = default.map_or(String::new(), |default| format!(" for the default, {default}"));
            let reason = format!("it has no value: give it one, or leave it out{default}");
            return (!may_be_empty).then(|| self.complain(name, &reason));
        }
        match setting.kind {
            Kind::Number(..) => self.number(name).err(),
            Kind::Path | Kind::MaybePath => text.starts_with('~').then(|| {
                self.complain(name, &"nobody expands '~' here: write the path from the root, /home/…")
            }),
            Kind::Text(check) | Kind::MaybeText(check) => {
                check(text).err().map(|reason| self.complain(name, &reason))
            }
        }
    }

    /// The secret in the file that a setting names.
    pub fn secret(&self, name: &str) -> Result<[u8; 32], SettingsError> {
        let file: PathBuf = self.parse(name)?;
        files::read_secret(&file).map_err(|e| self.complain(name, &e))
    }

    /// A setting that is a number, within its bounds.
    pub fn number(&self, name: &str) -> Result<u64, SettingsError> {
        let number: u64 = self.parse(name).map_err(|_| {
            let bounds = bounds(name).map_or(String::new(), |bounds| format!(" {bounds}"));
            self.complain(name, &format!("expected a whole number{bounds}"))
        })?;
        match setting(name).map(|setting| setting.kind) {
            Some(Kind::Number(min, max)) if !(min..=max).contains(&number) => {
                Err(self.complain(name, &format!("it must be {}", bounds(name).unwrap_or_default())))
            }
            _ => Ok(number),
        }
    }

    /// A setting's text, if it is set or has a default.
    pub fn text(&self, name: &str) -> Option<&str> {
        let default = || SETTINGS.iter().find(|setting| setting.name == name)?.default;
        self.0.get(name).map(|(value, _)| value.as_str()).or_else(default)
    }

    /// Reads a setting as a `T`.
    pub fn parse<T: std::str::FromStr>(&self, name: &str) -> Result<T, SettingsError>
    where
        T::Err: fmt::Display,
    {
        let text =
            self.text(name).ok_or_else(|| SettingsError(format!("--{name} is needed; see zhost --help")))?;
        text.parse().map_err(|e| self.complain(name, &e))
    }

    /// Reads a setting as a list of `T`s, separated by commas.
    pub fn parse_list<T: std::str::FromStr>(&self, name: &str) -> Result<Vec<T>, SettingsError>
    where
        T::Err: fmt::Display,
    {
        let items = items(self.text(name).unwrap_or_default());
        items.map(|item| item.parse().map_err(|e| self.complain(name, &e))).collect()
    }

    /// Says what is wrong with a setting, and where it was set.
    pub fn complain(&self, name: &str, reason: &impl fmt::Display) -> SettingsError {
        let source =
            self.0.get(name).map_or_else(|| format!("default of {name}"), |(_, source)| source.clone());
        SettingsError(format!("{source}: {}: {reason}", Shown(self.text(name).unwrap_or_default())))
    }
}

/// Within which bounds a number must be, in words.
fn bounds(name: &str) -> Option<String> {
    match setting(name)?.kind {
        Kind::Number(min, max) => Some(format!("from {min} to {max}")),
        _ => None,
    }
}

/// A message of others on one line, of a length that can be read; it may quote what a stranger wrote.
fn plain(text: &str) -> String {
    const PLAIN_MAX: usize = 300;
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().take(PLAIN_MAX).map(printable).collect()
}

/// The text of `zhost --help`.
pub fn help() -> String {
    let mut text = String::from(
        "zhost: turns a handful of small boards into one dependable machine\n\n\
         Usage: zhost [--config FILE] [SETTINGS]\n\n\
         Flags go before environment variables (ZHOST_NAME for --name), those before the config file\n\
         (YAML, the same names), and that before defaults.\n\nSettings:\n",
    );
    for Setting { name, value, help, default, .. } in &SETTINGS {
        let default =
            default.filter(|default| !default.is_empty()).map_or(String::new(), |d| format!(" [{d}]"));
        let bounds = bounds(name).map_or(String::new(), |bounds| format!(", {bounds}"));
        text.push_str(&format!("  {:<32} {help}{bounds}{default}\n", format!("--{name} {value}")));
    }
    text.push_str(
        "  --config FILE                    read settings from this file (or ZHOST_CONFIG)\n  \
         --check                          do not start: see whether this program works on this machine, and say all\n  \
         \x20                                that a start with these settings would complain about\n  --version, --help\n\n\
         Examples:\n  zhost --data-dir ./z1 --secret-file cluster.secret --control-secret-file control.secret\n  \
         zhost --config /etc/zhost.yaml --join 192.168.1.10:9200 --log debug\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn gather(args: &[&str]) -> Result<Settings, SettingsError> {
        let args = ["zhost"].iter().chain(args).map(OsString::from);
        match Settings::gather(args)? {
            Invocation::Run(settings) => Ok(settings),
            _ => Err(SettingsError("not a run".into())),
        }
    }

    #[test]
    fn flags_beat_defaults_and_lists_split_at_commas() {
        let settings = gather(&["--name", "z1", "--join=127.0.0.1:1,127.0.0.1:2"]).unwrap();
        assert_eq!(settings.text("name"), Some("z1"));
        assert_eq!(settings.text("region"), Some("default"));
        assert_eq!(settings.parse_list::<std::net::SocketAddr>("join").unwrap().len(), 2);
    }

    #[test]
    fn errors_name_the_setting_its_source_and_the_reason() {
        assert!(gather(&["--nmae", "x"]).err().unwrap().to_string().contains("nmae"));
        let settings = gather(&["--memory-mib", "lots"]).unwrap();
        let error = settings.number("memory-mib").unwrap_err().to_string();
        assert!(error.contains("--memory-mib") && error.contains("lots"), "{error}");
        let error = gather(&["--config", "/nonexistent.yaml"]).err().unwrap().to_string();
        assert!(error.contains("/nonexistent.yaml"), "{error}");
    }

    /// What is complained about, as one text.
    fn complaints(args: &[&str]) -> String {
        let complaints = gather(args).unwrap().complaints();
        complaints.iter().map(|complaint| format!("{complaint}\n")).collect()
    }

    #[test]
    fn defaults_are_within_their_own_bounds() {
        let all = SETTINGS.iter().filter_map(|setting| {
            let default = setting.default.filter(|default| !default.is_empty())?;
            Some((setting.name, default.to_owned(), format!("default of {}", setting.name)))
        });
        let mut settings = Settings::default();
        all.for_each(|(name, value, source)| settings.put(name, value, source));
        let complaints: Vec<String> = settings.complaints().iter().map(ToString::to_string).collect();
        assert_eq!(complaints, [""; 0]);
    }

    #[test]
    fn every_number_has_bounds_that_are_said() {
        for Setting { name, kind, .. } in &SETTINGS {
            let Kind::Number(min, max) = *kind else { continue };
            for (value, is_right) in
                [(min, true), (max, true), (min.wrapping_sub(1), false), (max + 1, false), (u64::MAX, false)]
            {
                let settings = gather(&[&format!("--{name}={value}")]).unwrap();
                let number = settings.number(name);
                assert_eq!(number.is_ok(), is_right, "--{name} {value}");
                let said = number.err().map(|error| error.to_string()).unwrap_or_default();
                let parts = [format!("--{name}"), value.to_string(), min.to_string(), max.to_string()];
                assert!(is_right || parts.iter().all(|part| said.contains(part)), "{said}");
            }
            assert!(help().contains(&format!("from {min} to {max}")), "{name}");
        }
        for value in ["-1", "1.5", "0x10", "", " ", "99999999999999999999999"] {
            assert!(!complaints(&[&format!("--heartbeat-ms={value}")]).is_empty(), "{value:?}");
        }
    }

    #[test]
    fn a_heartbeat_must_fit_its_timeout_twice() {
        let said = complaints(&["--heartbeat-ms=20000"]);
        assert!(said.contains("--heartbeat-ms") && said.contains("heartbeat-timeout-ms (30000)"), "{said}");
        assert_eq!(complaints(&["--heartbeat-ms=15000"]), "");
    }

    #[test]
    fn paths_are_not_empty_and_nobody_expands_a_tilde() {
        for Setting { name, kind, .. } in &SETTINGS {
            if let Kind::Path | Kind::MaybePath = kind {
                let said = complaints(&[&format!("--{name}=~/zh")]);
                assert!(said.contains("nobody expands '~'"), "{name}: {said}");
                let is_needed = matches!(kind, Kind::Path);
                assert_eq!(complaints(&[&format!("--{name}=")]).contains("no value"), is_needed, "{name}");
            }
        }
    }

    #[test]
    fn all_complaints_are_made_at_once_and_levels_are_listed() {
        let said = complaints(&["--log=loud", "--region=", "--discover=no", "--name=Küche 1", "--network=x"]);
        assert_eq!(said.lines().count(), 5, "{said}");
        assert!(said.contains("error, warn, info or debug") && said.contains("expected true or false"));
        assert!(said.contains("it has no value") && said.contains("the default, default"), "{said}");
    }

    #[test]
    fn a_config_file_is_complained_about_by_line_and_without_what_moves_a_cursor() {
        let file = env::temp_dir().join(format!("zhost-settings-{}.yaml", std::process::id()));
        let read = |text: &str| {
            fs::write(&file, text).unwrap();
            Settings::from_file(&file)
        };
        let said = read("name: a\nregion:\n").unwrap().complaints();
        let said: Vec<String> = said.iter().map(ToString::to_string).collect();
        assert!(said.len() == 1 && said[0].contains("line 2") && said[0].contains("region"), "{said:?}");
        let long = "x".repeat(900);
        let text = format!("\"na\\em\": a\n{long}: 1\nhaus: 2\n");
        let error = read(&text).err().unwrap().to_string();
        assert_eq!(error.lines().count(), 3, "{error}");
        assert!(error.contains("'haus' (line 3)"), "{error}");
        assert!(error.len() < 600 && !error.contains('\u{1b}'), "{error}");
        let error = read(&"#".repeat(CONFIG_SIZE_MAX_BYTES + 1)).err().unwrap().to_string();
        assert!(error.contains("more than 65536 bytes") && error.contains("zhost-settings"), "{error}");
        fs::remove_file(&file).unwrap();
    }
}
