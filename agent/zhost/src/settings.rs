//! Where settings come from: flags over environment over the config file over defaults.

use litemap::LiteMap;
use std::{env, ffi::OsString, fmt, fs, path::Path};
use zhost_mex::yaml;

/// Size of a config file.
const CONFIG_SIZE_MAX_BYTES: u64 = 64 * 1024;

/// A setting: its name as a flag and in the file (the environment has it as `ZHOST_NAME`), what its value is, what it
/// means, and its default.
pub struct Setting {
    pub name: &'static str,
    pub value: &'static str,
    pub help: &'static str,
    pub default: Option<&'static str>,
}

const fn setting(
    name: &'static str,
    value: &'static str,
    help: &'static str,
    default: Option<&'static str>,
) -> Setting {
    Setting { name, value, help, default }
}

/// Every setting there is.
pub const SETTINGS: [Setting; 31] = [
    setting("data-dir", "DIR", "where identity, ledger, packages and data are kept", Some("/var/lib/zhost")),
    setting("cluster", "NAME", "the cluster's name", Some("default")),
    setting("name", "NAME", "what people call this zhost", Some("zhost")),
    setting("region", "NAME", "where it stands", Some("default")),
    setting("kind", "NAME", "what sort of machine it is", Some("board")),
    setting(
        "listen",
        "ADDR",
        "gossip (UDP) and links (TCP); [::] is every address, of IPv4 too",
        Some("[::]:9200"),
    ),
    setting(
        "advertise",
        "ADDR",
        "how others reach `listen`; left out, the addresses of the machine, whatever they are at the time",
        None,
    ),
    setting("control", "ADDR", "where zctl is answered (UDP)", Some("[::]:9000")),
    setting(
        "serial",
        "FILE[@BAUD]",
        "a serial line where zctl is answered, such as /dev/ttyAMA0@115200; a board without a secret-file takes \
         provisioning there, and nothing else",
        None,
    ),
    setting("web", "ADDR", "where browsers are shown UI spaces (TCP); empty: nowhere", Some("[::]:9080")),
    setting(
        "join",
        "ADDR|NAME,…",
        "zhosts to join the cluster at, if they are not on the same network; port 9200 if none is given; names are looked \
         up anew each time",
        Some(""),
    ),
    setting(
        "discover",
        "BOOL",
        "look for the cluster on the local network; founds one if nobody answers",
        Some("true"),
    ),
    setting("secret-file", "FILE", "the cluster's secret: 64 hexadecimal digits, mode 600", None),
    setting("control-secret-file", "FILE", "the secret of zctl sessions, likewise", None),
    setting("operators", "KEY,…", "public keys of operators who may command (zctl keygen)", Some("")),
    setting(
        "publishers",
        "KEY,…",
        "public keys of publishers whose packages run (zctl mex keygen)",
        Some(""),
    ),
    setting("eligible", "BOOL", "may become a super node", Some("true")),
    setting("run-spaces", "BOOL", "runs spaces", Some("true")),
    setting("memory-mib", "N", "memory given to spaces", Some("64")),
    setting(
        "devices",
        "NAME=KIND:WHERE,…",
        "what is wired to the board: gpio-in:LINE, gpio-out:LINE, i2c:i2c-1, lm75:i2c-1@48, spi:spidev0.0@HZ, \
         uart:ttyS0@BAUD, pwm:pwmchip0@CHANNEL",
        Some(""),
    ),
    setting(
        "camera",
        "WIDTHxHEIGHT [FORMAT]",
        "what pictures cameras are asked for: GREY, YUYV, MJPG or a format of their own; they give the nearest",
        Some("320x240"),
    ),
    setting("secrets-dir", "DIR", "secrets for spaces: file x, mode 600, is secrets.x", None),
    setting(
        "watchdog",
        "FILE",
        "feed this hardware watchdog, such as /dev/watchdog, while all is well; empty: none",
        Some(""),
    ),
    setting(
        "hardware-replay",
        "DIR",
        "play recorded hardware instead of this computer's (see agent/hal)",
        None,
    ),
    setting("camera-replay", "FILE", "offer sensors.camera, playing recorded PGM pictures", None),
    setting("camera-period-ms", "N", "time between two recorded pictures", Some("200")),
    setting(
        "network",
        "PLAN",
        "how a board on which zhost is the first process gets its address: dhcp, ADDR/BITS [via ADDR], or none",
        Some("dhcp"),
    ),
    setting("heartbeat-ms", "N", "how often to report to the super node", Some("10000")),
    setting("heartbeat-timeout-ms", "N", "a zhost silent for this long has failed", Some("30000")),
    setting("alone-ms", "N", "how long to wait for a known cluster before going on alone", Some("15000")),
    setting("log", "LEVEL", "error, warn, info or debug", Some("info")),
];

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
    /// Whether the program works on this machine.
    Check,
}

/// Values by name, each with where it came from.
#[derive(Default)]
pub struct Settings(LiteMap<&'static str, (String, String)>);

fn known(name: &str) -> Option<&'static str> {
    SETTINGS.iter().find(|setting| setting.name == name).map(|setting| setting.name)
}

impl Settings {
    /// Gathers the settings of this process.
    pub fn gather(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, SettingsError> {
        let mut flags = Self::default();
        let mut config = env::var("ZHOST_CONFIG").ok();
        let mut parser = lexopt::Parser::from_iter(args);
        let wrong = |error: lexopt::Error| SettingsError(format!("{error}; see zhost --help"));
        while let Some(arg) = parser.next().map_err(wrong)? {
            let name = match arg {
                lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => return Ok(Invocation::Help),
                lexopt::Arg::Long("version") | lexopt::Arg::Short('V') => return Ok(Invocation::Version),
                lexopt::Arg::Long("check") => return Ok(Invocation::Check),
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
        Ok(Invocation::Run(settings))
    }

    /// Takes these over whatever was set before, if there are such settings.
    pub fn overrule(&mut self, told: Vec<(String, String)>, source: &str) -> Result<(), SettingsError> {
        for (name, value) in told {
            let known = known(&name);
            let name =
                known.ok_or_else(|| SettingsError(format!("{source}: there is no setting '{name}'")))?;
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
        let error = |reason: String| SettingsError(format!("config file {}: {reason}", file.display()));
        let size = fs::metadata(file).map_err(|e| error(e.to_string()))?.len();
        if size > CONFIG_SIZE_MAX_BYTES {
            return Err(error(format!("has more than {CONFIG_SIZE_MAX_BYTES} bytes")));
        }
        let bytes = fs::read(file).map_err(|e| error(e.to_string()))?;
        let entries = yaml::parse(&bytes).and_then(yaml::Node::mapping).map_err(|e| error(e.to_string()))?;
        let mut settings = Self::default();
        for (name, value) in entries.into_entries() {
            let name = known(&name)
                .ok_or_else(|| error(format!("there is no setting '{name}'; see zhost --help")))?;
            let value = value.text_or_list().map_err(|e| error(e.to_string()))?.join(",");
            settings.put(name, value, format!("{name} in {}", file.display()));
        }
        Ok(settings)
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
        let items =
            self.text(name).unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(|item| item.parse().map_err(|e| self.complain(name, &e))).collect()
    }

    /// Says what is wrong with a setting, and where it was set.
    pub fn complain(&self, name: &str, reason: &impl fmt::Display) -> SettingsError {
        let source =
            self.0.get(name).map_or_else(|| format!("default of {name}"), |(_, source)| source.clone());
        SettingsError(format!("{source}: {:?}: {reason}", self.text(name).unwrap_or_default()))
    }
}

/// The text of `zhost --help`.
pub fn help() -> String {
    let mut text = String::from(
        "zhost: turns a handful of small boards into one dependable machine\n\n\
         Usage: zhost [--config FILE] [SETTINGS]\n\n\
         Flags go before environment variables (ZHOST_NAME for --name), those before the config file\n\
         (YAML, the same names), and that before defaults.\n\nSettings:\n",
    );
    for Setting { name, value, help, default } in &SETTINGS {
        let default =
            default.filter(|default| !default.is_empty()).map_or(String::new(), |d| format!(" [{d}]"));
        text.push_str(&format!("  {:<32} {help}{default}\n", format!("--{name} {value}")));
    }
    text.push_str(
        "  --config FILE                    read settings from this file (or ZHOST_CONFIG)\n  \
         --check                          only see whether this program works on this machine\n  --version, --help\n\n\
         Examples:\n  zhost --data-dir ./z1 --secret-file cluster.secret --control-secret-file control.secret\n  \
         zhost --config /etc/zhost.yaml --join 192.168.1.10:9200 --log debug\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let error = settings.parse::<u32>("memory-mib").unwrap_err().to_string();
        assert!(error.contains("--memory-mib") && error.contains("lots"), "{error}");
        let error = gather(&["--config", "/nonexistent.yaml"]).err().unwrap().to_string();
        assert!(error.contains("/nonexistent.yaml"), "{error}");
    }
}
