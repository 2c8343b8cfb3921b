//! The demo: a real cluster on this computer runs a signed topology, loses zhosts, and heals. Every step counts only
//! when it was seen through zctl.

use crate::{Outcome, artifacts, setup, steps, test, view::View};
use serde_json::{Value, json};
use std::{
    thread,
    time::{Duration, Instant},
};
use zhost_cluster::{
    Cluster,
    browser::{self, Page},
    cast,
    driver::Driver,
};

const ZHOSTS: usize = 5;
const POLL_PERIOD: Duration = Duration::from_millis(100);
/// The tally space reports after so many frames.
const REPORT_EVERY: u64 = 10;
const PATIENCE: Duration = Duration::from_secs(30);
/// A super and a local killed at once: running again within this.
const RECOVERY_MAX: Duration = Duration::from_secs(6);

/// What a person sees in the cockpit: the state, the counts, and of the picture a checksum and its brightness.
const SEEN_IN_PAGE: &str = "
    const text = (id) => document.getElementById(id).textContent;
    const canvas = document.getElementById('picture');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let [picture, brightness] = [0, 0];
    for (let at = 0; at < data.length; at += 4) {
        picture = (picture * 31 + data[at]) % 1000000007;
        brightness += data[at];
    }
    return { state: text('state'), counts: text('counts'), picture, brightness };";

struct Demo {
    cluster: Cluster,
    view: View,
    steps: Vec<(String, Duration)>,
}

/// Runs the demo.
pub fn run(json: bool) -> Outcome {
    setup::run(setup::GuestRoute::Auto)?;
    let artifacts = artifacts::build()?;
    let dir = steps::root().join(format!("target/demo-{}", std::process::id()));
    let cluster = Cluster::create(&dir, &artifacts.programs, cast(ZHOSTS))?;
    let mut demo = Demo { cluster, view: View::new(json), steps: Vec::new() };
    demo.view.restart_clock();
    let outcome = demo.play(&artifacts.garden.display().to_string());
    demo.view.clear_table();
    demo.summarise(json, &outcome);
    match outcome {
        Ok(()) => {
            drop(demo);
            std::fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))
        }
        Err(reason) => Err(format!("{reason}\n  the zhosts' logs are in {}", dir.display())),
    }
}

impl Demo {
    fn play(&mut self, garden: &str) -> Outcome {
        self.form_cluster()?;
        self.submit(garden)?;
        self.look_at_page()?;
        self.lose_camera()?;
        self.lose_super()?;
        self.bring_back()?;
        self.lose_super_and_local()?;
        self.stop()
    }

    /// Looks again and again until `look` gives something; notes the step and its time.
    fn step<T>(&mut self, what: &str, look: impl FnMut(&Cluster) -> Outcome<Option<T>>) -> Outcome<T> {
        self.step_since(Instant::now(), what, look)
    }

    fn step_since<T>(
        &mut self,
        start: Instant,
        what: &str,
        mut look: impl FnMut(&Cluster) -> Outcome<Option<T>>,
    ) -> Outcome<T> {
        let mut last = String::new();
        while start.elapsed() < PATIENCE {
            match look(&self.cluster) {
                Ok(Some(seen)) => {
                    let took = start.elapsed();
                    self.view.say(&format!("{what} ({:.2} s)", took.as_secs_f64()));
                    self.steps.push((what.into(), took));
                    return Ok(seen);
                }
                Ok(None) => {}
                Err(reason) => last = format!("; last: {reason}"),
            }
            self.view.refresh(&self.cluster);
            thread::sleep(POLL_PERIOD);
        }
        Err(format!("not seen within {} s: {what}{last}", PATIENCE.as_secs()))
    }

    fn form_cluster(&mut self) -> Outcome {
        self.view.say(&format!("starting {ZHOSTS} zhosts that know one address"));
        let start = Instant::now();
        (0..ZHOSTS).try_for_each(|index| self.cluster.start(index))?;
        self.step_since(start, "all zhosts have found each other", |cluster| alive(cluster, ZHOSTS))?;
        let leader = self.step_since(start, "a super node is elected by a majority", |cluster| {
            full_super(cluster, ZHOSTS)
        })?;
        self.view.say(&format!("  super node: {leader}"));
        Ok(())
    }

    fn submit(&mut self, garden: &str) -> Outcome {
        let mex = self.cluster.dir.join("garden.mex").display().to_string();
        let key = self.cluster.dir.join("publisher.key").display().to_string();
        self.cluster.zctl(&["mex", "build", garden, "--output", &mex])?;
        self.cluster.zctl(&["mex", "sign", &mex, "--key", &key])?;
        self.view.say("package built and signed");
        let start = Instant::now();
        let submitted = self.cluster.ask(&["topo", "submit", &mex])?;
        let durability = &submitted["durability"];
        self.steps.push(("submit acknowledged".into(), start.elapsed()));
        self.view
            .say(&format!("submitted: {} of {} copies on flash", durability["copies"], durability["wanted"]));
        if durability["copies"] != durability["wanted"] {
            return Err("the submit was not acknowledged as durable".into());
        }
        self.step_since(start, "pending, then running", |cluster| {
            let topology = cluster.ask(&["topo", "status", "garden"])?;
            let seen = states(&topology);
            Ok((topology["state"] == "running" && seen.contains(&"pending".into())).then_some(()))
        })?;
        let spread = self.cluster.ask(&["mesh", "spaces"])?;
        let camera = home(&spread, "camera").ok_or("the camera space is nowhere")?;
        let tally = home(&spread, "tally").ok_or("the tally space is nowhere")?;
        if !camera.starts_with("cam-") || tally != "store-1" {
            return Err(format!("placed wrongly: camera on {camera}, tally on {tally}"));
        }
        let what = "pictures are counted, their brightness computed from pixels";
        self.step(what, |cluster| {
            Ok(report(cluster)?
                .filter(|report| report.frames > 0 && report.brightness > 0 && report.readings > 0))
        })?;
        Ok(())
    }

    /// The page of the UI space shows the live picture and the counts, and takes orders.
    fn look_at_page(&mut self) -> Outcome {
        let address = self.cluster.ask(&["spaces", "open", "cockpit"])?;
        let address = address["address"].as_str().ok_or("no address of the cockpit")?;
        self.step("a stranger without a ticket sees nothing", |_| {
            let bare = address.split('?').next().unwrap_or_default();
            Ok((browser::ask("GET", bare, &[], b"")?.status == 403).then_some(()))
        })?;
        let page = Page::open(address)?;
        self.step("the cockpit page is served, and shows pictures and counts as they come", |_| {
            let accepted = page.ask("POST", "-/paths/orders", &[], b"report")?.status == 202;
            page.watch(&["pictures", "counts", "shown"]).map(|_| accepted.then_some(()))
        })?;
        if !Driver::is_there() {
            return test::do_without("no look at the page through a real browser: no chromedriver here");
        }
        let driver = Driver::start(&self.cluster.dir.join("browser"))?;
        driver.visit(address)?;
        let mut first = None;
        self.step("Chromium shows the moving picture and the counts", |_| {
            let seen = driver.run(SEEN_IN_PAGE)?;
            let is_live =
                seen["state"] == "live" && seen["counts"].as_str().is_some_and(|c| c.contains("frames="));
            let moves = first.get_or_insert_with(|| seen["picture"].clone()) != &seen["picture"];
            Ok((is_live && moves && seen["brightness"].as_u64() > Some(0)).then_some(()))
        })?;
        self.step("its page cannot leave its own place, and an order it sends is accepted", |_| {
            let blocked =
                driver.run_async("fetch('/').then(() => arguments[0](false), () => arguments[0](true))")?;
            driver.run("document.getElementById('report').click()")?;
            let said = driver.run("return document.getElementById('said').textContent")?;
            Ok((blocked == true && said == "asked").then_some(()))
        })
    }

    fn lose_camera(&mut self) -> Outcome {
        let victim =
            home(&self.cluster.ask(&["mesh", "spaces"])?, "camera").ok_or("the camera space is nowhere")?;
        let before = report(&self.cluster)?.ok_or("the tally has not reported")?;
        let seen_before = states(&self.cluster.ask(&["topo", "status", "garden"])?).len();
        self.view
            .say(&format!("killing {victim}, which runs the camera space ({} frames so far)", before.frames));
        let start = Instant::now();
        self.cluster.kill(self.cluster.index_of(&victim)?)?;
        let what = "degraded, then running on the other camera zhost";
        let heir = self.step_since(start, what, |cluster| {
            let topology = cluster.ask(&["topo", "status", "garden"])?;
            let heir = home(&cluster.ask(&["mesh", "spaces"])?, "camera").filter(|heir| *heir != victim);
            let degraded = states(&topology).iter().skip(seen_before).any(|state| state == "degraded");
            Ok(heir.filter(|_| topology["state"] == "running" && degraded))
        })?;
        self.view.say(&format!("  the camera space is on {heir} now"));
        self.step_since(start, "the count goes on where it was", |cluster| {
            // The tally reports every so many frames: one more report may still speak of the old camera.
            Ok(report(cluster)?.filter(|report| report.frames > before.frames + REPORT_EVERY))
        })?;
        Ok(())
    }

    fn lose_super(&mut self) -> Outcome {
        let old = full_super(&self.cluster, ZHOSTS - 1)?.ok_or("no super node")?;
        let before = report(&self.cluster)?.ok_or("the tally has not reported")?;
        self.view.say(&format!("killing {old}, the super node"));
        let start = Instant::now();
        self.cluster.kill(self.cluster.index_of(&old)?)?;
        let new = self.step_since(start, "a new super node is elected", |cluster| {
            Ok(full_super(cluster, ZHOSTS - 2)?.filter(|new| *new != old))
        })?;
        self.view.say(&format!("  super node: {new}"));
        self.step_since(start, "the topology is running and managed by the new super node", |cluster| {
            let topology = cluster.ask(&["topo", "status", "garden"])?;
            let counting = report(cluster)?.is_some_and(|report| report.frames > before.frames);
            Ok((topology["state"] == "running" && topology["coordinator"] == new && counting).then_some(()))
        })
    }

    fn bring_back(&mut self) -> Outcome {
        self.view.say("starting the killed zhosts again");
        let start = Instant::now();
        for index in 0..ZHOSTS {
            if self.cluster.zhosts[index].process.is_none() {
                self.cluster.start(index)?;
            }
        }
        self.step_since(start, "they are back, and the super node stays", |cluster| alive(cluster, ZHOSTS))
    }

    fn lose_super_and_local(&mut self) -> Outcome {
        let leader = self.step("all agree on a super node", |cluster| full_super(cluster, ZHOSTS))?;
        let local =
            home(&self.cluster.ask(&["mesh", "spaces"])?, "camera").ok_or("the camera space is nowhere")?;
        self.view.say(&format!("killing the super node {leader} and the local {local} at once"));
        let (leader_index, local_index) = (self.cluster.index_of(&leader)?, self.cluster.index_of(&local)?);
        let start = Instant::now();
        self.cluster.kill(leader_index)?;
        self.cluster.kill(local_index)?;
        self.step_since(start, "super node and local lost at once: running again", |cluster| {
            let topology = cluster.ask(&["topo", "status", "garden"])?;
            let moved = home(&cluster.ask(&["mesh", "spaces"])?, "camera").is_some_and(|heir| heir != local);
            let led = full_super(cluster, ZHOSTS - 2)?.is_some_and(|new| new != leader);
            Ok((topology["state"] == "running" && moved && led).then_some(()))
        })?;
        let took = start.elapsed();
        if took > RECOVERY_MAX {
            return Err(format!(
                "recovery took {:.1} s, more than {} s",
                took.as_secs_f64(),
                RECOVERY_MAX.as_secs()
            ));
        }
        Ok(())
    }

    fn stop(&mut self) -> Outcome {
        self.view.say("stopping the topology");
        let start = Instant::now();
        self.cluster.ask(&["topo", "stop", "garden"])?;
        self.step_since(
            start,
            "on_close of every space is in the logs, and nothing runs any more",
            |cluster| {
                let closed = artifacts::GARDEN
                    .iter()
                    .map(|space| has_closed(cluster, space))
                    .collect::<Outcome<Vec<bool>>>()?;
                let closed = closed.iter().all(|closed| *closed);
                let topology = cluster.ask(&["topo", "status", "garden"])?;
                let empty = cluster.ask(&["mesh", "spaces"])?.as_array().is_some_and(Vec::is_empty);
                Ok((closed && empty && topology["state"] == "stopped").then_some(()))
            },
        )?;
        let start = Instant::now();
        self.cluster.end()?;
        self.steps.push(("all processes ended by themselves".into(), start.elapsed()));
        self.view.say("all processes have ended");
        Ok(())
    }

    fn summarise(&self, json: bool, outcome: &Outcome) {
        if json {
            let steps: Vec<Value> = self
                .steps
                .iter()
                .map(|(what, took)| json!({ "step": what, "seconds": took.as_secs_f64() }))
                .collect();
            println!(
                "{:#}",
                json!({ "ok": outcome.is_ok(), "failure": outcome.as_ref().err(), "steps": steps })
            );
            return;
        }
        println!("\nSummary");
        self.steps.iter().for_each(|(what, took)| println!("  {:6.2} s  {what}", took.as_secs_f64()));
        if outcome.is_ok() {
            println!("  every step was seen through zctl, the page as browsers see it");
        }
    }
}

/// Whether this many zhosts are alive, each reporting to a super.
fn alive(cluster: &Cluster, count: usize) -> Outcome<Option<()>> {
    let zhosts = cluster.ask(&["cluster", "zhosts"])?;
    let zhosts = zhosts.as_array().ok_or("no list")?;
    let alive = zhosts.iter().filter(|zhost| zhost["state"] == "alive" && zhost["super_node"] != "-").count();
    Ok((alive == count).then_some(()))
}

/// The super node of a full term, if all `count` live zhosts report to it.
fn full_super(cluster: &Cluster, count: usize) -> Outcome<Option<String>> {
    let view = cluster.ask(&["cluster"])?;
    let name = view["supers"][0].as_str().filter(|_| view["full"] == true).map(str::to_owned);
    let zhosts = cluster.ask(&["cluster", "zhosts"])?;
    let zhosts = zhosts.as_array().ok_or("no list")?;
    let reporting = zhosts
        .iter()
        .filter(|zhost| zhost["state"] == "alive" && zhost["super_node"].as_str() == name.as_deref());
    let reporting = reporting.count();
    Ok(name.filter(|_| reporting == count))
}

/// The zhost a space runs on.
fn home(spaces: &Value, space: &str) -> Option<String> {
    let running = spaces.as_array()?.iter().find(|row| row["space"] == space && row["state"] == "running")?;
    running["zhost"].as_str().map(str::to_owned)
}

/// The states a topology went through.
fn states(topology: &Value) -> Vec<String> {
    let history = topology["history"].as_array().cloned().unwrap_or_default();
    history.iter().filter_map(|change| change["state"].as_str().map(str::to_owned)).collect()
}

/// Whether a space's `on_close` spoke, by the log lines that its zhost keeps of it.
fn has_closed(cluster: &Cluster, space: &str) -> Outcome<bool> {
    let lines = cluster.ask(&["spaces", "logs", space])?;
    let spoke = |line: &Value| line["text"].as_str().is_some_and(|text| text.starts_with("on_close"));
    Ok(lines.as_array().is_some_and(|lines| lines.iter().any(spoke)))
}

/// What the tally space reported last.
struct Report {
    frames: u64,
    brightness: u64,
    readings: u64,
}

fn report(cluster: &Cluster) -> Outcome<Option<Report>> {
    let lines = cluster.ask(&["spaces", "logs", "tally"])?;
    let lines = lines.as_array().cloned().unwrap_or_default();
    let parse = |line: &Value| {
        let text = line["text"].as_str()?;
        let number = |key: &str| text.split(' ').find_map(|word| word.strip_prefix(key))?.parse().ok();
        Some(Report {
            frames: number("frames=")?,
            brightness: number("brightness=")?,
            readings: number("readings=")?,
        })
    };
    Ok(lines.iter().rev().find_map(parse))
}
