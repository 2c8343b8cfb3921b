//! What the demo shows: a time line that grows, and under it a table that redraws.

use serde_json::Value;
use std::{
    env,
    io::{IsTerminal, Write, stdout},
    time::{Duration, Instant},
};
use zhost_cluster::Cluster;

/// How often the table is redrawn.
const REDRAW_PERIOD: Duration = Duration::from_millis(300);

/// How much is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing: the result is printed as JSON.
    Silent,
    /// The time line only.
    Lines,
    /// The time line and the table.
    Live,
}

/// The demo's screen.
pub struct View {
    mode: Mode,
    colours: bool,
    started: Instant,
    redraw_at: Instant,
    table_lines: usize,
}

impl View {
    /// A screen for people, or none.
    pub fn new(json: bool) -> Self {
        let mode = match (json, stdout().is_terminal()) {
            (true, _) => Mode::Silent,
            (false, true) => Mode::Live,
            (false, false) => Mode::Lines,
        };
        let colours = mode == Mode::Live && env::var_os("NO_COLOR").is_none();
        Self { mode, colours, started: Instant::now(), redraw_at: Instant::now(), table_lines: 0 }
    }

    /// Starts the clock of the time line.
    pub fn restart_clock(&mut self) {
        self.started = Instant::now();
    }

    /// Adds a line to the time line.
    pub fn say(&mut self, text: &str) {
        if self.mode == Mode::Silent {
            return;
        }
        self.clear_table();
        println!("{:7.2} s  {text}", self.started.elapsed().as_secs_f64());
    }

    /// Redraws the table if it is time to.
    pub fn refresh(&mut self, cluster: &Cluster) {
        if self.mode != Mode::Live || Instant::now() < self.redraw_at {
            return;
        }
        self.redraw_at = Instant::now() + REDRAW_PERIOD;
        let zhosts = cluster.ask(&["cluster", "zhosts"]).unwrap_or_default();
        let spaces = cluster.ask(&["mesh", "spaces"]).unwrap_or_default();
        let lines = self.table(&zhosts, &spaces);
        self.clear_table();
        lines.iter().for_each(|line| println!("{line}"));
        self.table_lines = lines.len();
    }

    /// Takes the table off the screen.
    pub fn clear_table(&mut self) {
        if self.table_lines > 0 {
            print!("\x1b[{}A\x1b[J", self.table_lines);
            let _ = stdout().flush();
            self.table_lines = 0;
        }
    }

    fn table(&self, zhosts: &Value, spaces: &Value) -> Vec<String> {
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or("-").to_owned();
        let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut lines = vec![
            String::new(),
            format!("  {:<10} {:<6} {:<7} {:<8} SPACES", "ZHOST", "ROLE", "STATE", "REGION"),
        ];
        for zhost in rows(zhosts) {
            let name = text(&zhost, "name");
            let here = rows(spaces).into_iter().filter(|space| text(space, "zhost") == name);
            let here: Vec<String> =
                here.map(|space| format!("{} ({})", text(&space, "space"), text(&space, "state"))).collect();
            let (role, state) = (text(&zhost, "role"), text(&zhost, "state"));
            let line = format!(
                "  {name:<10} {role:<6} {state:<7} {:<8} {}",
                text(&zhost, "region"),
                here.join(", ")
            );
            lines.push(self.coloured(&line, &role, &state));
        }
        lines
    }

    fn coloured(&self, line: &str, role: &str, state: &str) -> String {
        let colour = match (role, state) {
            _ if !self.colours => return line.to_owned(),
            (_, "dead" | "failed") => 31,
            ("super", _) => 33,
            _ => 32,
        };
        format!("\x1b[{colour}m{line}\x1b[0m")
    }
}
