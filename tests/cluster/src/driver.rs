//! A real Chromium without a window, driven over WebDriver (W3C).

use crate::{Outcome, browser::ask, watch};
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

const DRIVER: &str = "chromedriver";
/// How long the driver may take to start.
const PATIENCE: Duration = Duration::from_secs(20);
/// So that it runs without a screen, and speaks to nobody but us.
const ARGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];

/// A browser; it goes when this is dropped.
pub struct Driver {
    process: Child,
    session: String,
    profile: PathBuf,
}

impl Driver {
    /// Whether this computer has one.
    pub fn is_there() -> bool {
        let found =
            Command::new(DRIVER).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    }

    /// Starts a browser that keeps its files in `profile`, and removes them.
    pub fn start(profile: &Path) -> Outcome<Self> {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map_err(|e| e.to_string())?;
        let address = format!("http://{port}");
        let process = Command::new(DRIVER)
            .arg(format!("--port={}", port.port()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("{DRIVER}: {e}"))?;
        let mut driver = Self { process, session: String::new(), profile: profile.to_owned() };
        let dir = format!("--user-data-dir={}", profile.display());
        let args: Vec<&str> = ARGS.into_iter().chain([dir.as_str()]).collect();
        let wish = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": args } } } });
        let status = format!("{address}/status");
        watch(PATIENCE, || Ok((ask("GET", &status, &[], b"")?.status == 200).then_some(())))?;
        let session = command("POST", &format!("{address}/session"), &wish)?;
        let id = session["sessionId"].as_str().ok_or("no session")?;
        driver.session = format!("{address}/session/{id}");
        Ok(driver)
    }

    /// Opens an address.
    pub fn visit(&self, address: &str) -> Outcome {
        command("POST", &format!("{}/url", self.session), &json!({ "url": address })).map(drop)
    }

    /// Runs a script in the page; gives what it returns.
    pub fn run(&self, script: &str) -> Outcome<Value> {
        self.execute("sync", script)
    }

    /// Runs a script in the page, and waits until it calls its last argument; gives what that is called with.
    pub fn run_async(&self, script: &str) -> Outcome<Value> {
        self.execute("async", script)
    }

    fn execute(&self, way: &str, script: &str) -> Outcome<Value> {
        command("POST", &format!("{}/execute/{way}", self.session), &json!({ "script": script, "args": [] }))
    }

    /// What the page looks like: a PNG in base64.
    pub fn picture(&self) -> Outcome<Value> {
        command("GET", &format!("{}/screenshot", self.session), &Value::Null)
    }
}

fn command(method: &str, address: &str, body: &Value) -> Outcome<Value> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = ask(method, address, &[("Content-Type", "application/json")], body.as_bytes())?;
    let answer: Value = serde_json::from_slice(&answer.body).map_err(|e| format!("{address}: {e}"))?;
    match answer["value"]["error"].as_str() {
        Some(error) => Err(format!("{error}: {}", answer["value"]["message"].as_str().unwrap_or_default())),
        None => Ok(answer["value"].clone()),
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A browser that does not end takes its driver with it.
        let _ = command("DELETE", &self.session, &Value::Null);
        let _ = self.process.kill().and_then(|()| self.process.wait());
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
