//! Words that people bring from other programs, and what they are called here.

use clap::error::{ContextKind, ContextValue, ErrorKind};

const WORDS: [(&[&str], &str); 22] = [
    (&["ps", "containers", "processes"], "zctl spaces"),
    (&["nodes", "node", "zhosts", "zhost", "members", "boards"], "zctl cluster zhosts"),
    (&["logs", "log", "journal"], "zctl spaces logs SPACE, with -f to follow"),
    (&["rm", "delete", "del", "undeploy", "uninstall", "down"], "zctl topo delete TOPOLOGY"),
    (&["remove", "evict", "leave"], "zctl cluster remove ZHOST, or zctl topo delete TOPOLOGY"),
    (&["deploy", "apply", "submit", "install", "run", "up", "start"], "zctl topo submit FILE.mex"),
    (&["ls", "list", "get"], "zctl topo list, zctl spaces, or zctl cluster zhosts"),
    (&["stop"], "zctl topo stop TOPOLOGY"),
    (&["kill", "restart"], "zctl spaces restart SPACE, or zctl topo restart TOPOLOGY"),
    (&["reboot"], "zctl board restart"),
    (&["shutdown", "poweroff", "power-off"], "zctl board power-off"),
    (&["ping"], "zctl mesh ping"),
    (&["peers", "links"], "zctl mesh peers"),
    (&["routes", "route"], "zctl mesh routes"),
    (&["top", "stats", "describe"], "zctl spaces status SPACE"),
    (&["topology", "topologies", "apps", "app"], "zctl topo"),
    (&["info", "health"], "zctl status"),
    (&["version"], "zctl --version"),
    (&["new", "init", "create"], "zctl space new DIR"),
    (&["build", "sign", "verify", "inspect", "package"], "zctl mex build, sign, verify or inspect"),
    (&["config", "context", "login", "doctor"], "zctl profile check"),
    (&["upgrade", "update", "flash"], "zctl firmware push"),
];

/// What to say of a command that is called differently here.
pub fn meant(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let (_, here) = WORDS.iter().find(|(words, _)| words.contains(&typed.as_str()))?;
    Some(format!("there is no command '{typed}' here; say: {here}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::Cli;
    use clap::{CommandFactory, Parser};

    #[test]
    fn words_of_others_point_to_commands_that_are_there() {
        let cli = Cli::command();
        for (words, here) in WORDS {
            for word in words {
                let Err(error) = Cli::try_parse_from(["zctl", word]) else {
                    panic!("{word} is a command itself")
                };
                assert!(meant(&error).is_some_and(|said| said.contains(here)), "{word}");
            }
            let mut at = &cli;
            for word in here.split([' ', ',']).skip(1).take_while(|word| word.chars().all(char::is_lowercase))
            {
                let Some(next) = at.find_subcommand(word) else { break };
                at = next;
            }
            assert!(at.get_name() != "zctl" || here.contains("--"), "{here} is no command");
        }
    }

    #[test]
    fn other_words_are_left_to_the_usage() {
        let error = Cli::try_parse_from(["zctl", "frobnicate"]).err();
        assert_eq!(error.and_then(|error| meant(&error)), None);
    }
}
