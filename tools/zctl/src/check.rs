//! `zctl profile check`: what is on this laptop, and what to compare it with on the boards. Zhosts answer no stranger, so
//! what is wrong has to be found here.

use crate::{
    Failure, Outcome, address,
    commands::Options,
    foreign, keys,
    profile::{self, ProfileFile},
    render,
};
use serde::Serialize;
use std::path::Path;
use zhost_link::Identity;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    /// Of the profile.
    what: &'static str,
    /// Where it stands.
    place: String,
    /// What is wrong with it.
    problem: Option<String>,
    /// What is to be the same on the boards.
    value: Option<String>,
    /// How to compare it.
    compare: Option<&'static str>,
}

impl Finding {
    fn new(
        what: &'static str,
        place: String,
        value: Result<String, String>,
        compare: Option<&'static str>,
    ) -> Self {
        let (value, problem) = match value {
            Ok(value) => (Some(value), None),
            Err(problem) => (None, Some(problem)),
        };
        Self { what, place, compare: compare.filter(|_| value.is_some()), problem, value }
    }
}

/// Digits of a digest that are enough to compare.
const DIGEST_DIGITS: usize = 16;

const SECRET: &str =
    "`sha256sum` of the board's `control-secret-file`, as `zctl secret` writes it, begins with the same";
const OPERATOR: &str = "this stands among `operators` in the settings of every board";
const ADDRESS: &str =
    "a board's `control` is at one of these, port and all (`zctl cluster zhosts --json`: control_addr)";

/// Looks at everything the profile names; fails if something cannot work.
pub fn check(options: &Options) -> Outcome {
    let file = profile::find(options)?;
    let profile = ProfileFile::read(&file);
    let form = profile.as_ref().map(|_| "sound".to_owned()).map_err(Clone::clone);
    let mut findings = vec![Finding::new("profile", file.display().to_string(), form, None)];
    if let Ok(profile) = &profile {
        findings.extend(look_at(options, profile));
    }
    let is_sound = findings.iter().all(|finding| finding.problem.is_none());
    let text = if options.json { render::to_json(&findings)? } else { describe(&findings) };
    if is_sound { Ok(text) } else { Err(Failure::Shown(text)) }
}

fn look_at(options: &Options, profile: &ProfileFile) -> Vec<Finding> {
    let place = |file: &Path| file.display().to_string();
    let (secret_file, key_file) = (&profile.control_secret_file, &profile.operator_key_file);
    let (secret, key) = (keys::read(secret_file), keys::read(key_file));
    let is_same = matches!((&secret, &key), (Ok(secret), Ok(key)) if secret == key);
    let operator = match key {
        Ok(_) if is_same => {
            Err(format!("{}: it is the control secret, not an operator's key", key_file.display()))
        }
        Ok(key) => Ok(keys::hex(Identity::from_private(key).public())),
        Err(problem) => Err(problem),
    };
    let secret = secret.map(|secret| digest_of_file(&secret));
    let mut findings = vec![
        Finding::new("control-secret-file", place(secret_file), secret, Some(SECRET)),
        Finding::new("operator-key-file", place(key_file), operator, Some(OPERATOR)),
    ];
    if options.serial.is_some() {
        return findings;
    }
    match profile::places(options, profile) {
        Err(problem) => findings.push(Finding::new("zhosts", "-".into(), Err(problem), None)),
        Ok(places) => findings.extend(address::resolve(&places).into_iter().map(|place| {
            let addresses = place
                .addresses
                .map(|addresses| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
            Finding::new("zhosts", place.written, addresses, Some(ADDRESS))
        })),
    }
    findings
}

/// What `sha256sum` says of the file of a secret: the secret itself is for no screen.
fn digest_of_file(secret: &[u8; 32]) -> String {
    let digest = zhost_mex::digest((keys::hex(secret) + "\n").as_bytes()).to_string();
    format!("SHA-256 {}…", &digest[..DIGEST_DIGITS])
}

fn describe(findings: &[Finding]) -> String {
    let mut text = String::new();
    let mut compared = Vec::new();
    for Finding { what, place, problem, value, compare } in findings {
        let (mark, said) = match (problem, value) {
            (Some(problem), _) => ("WRONG", problem.as_str()),
            (None, value) => ("ok", value.as_deref().unwrap_or_default()),
        };
        text += &format!("{mark:5}  {what} {}: {}\n", foreign::value(place), foreign::value(said));
        if let Some(compare) = compare.filter(|compare| !compared.contains(compare)) {
            text += &format!("       compare: {compare}\n");
            compared.push(compare);
        }
    }
    text
}
