//! What happens to a simulated site, drawn from its seed.

use crate::{
    expectation::{Expectation, Outcome},
    guests,
    network::NetworkFaults,
    promise::{Flaw, Promise},
    referee,
    rest::Rest,
    world::{Machines, World},
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use zhost_base::Instant;
use zhost_control::protocol::{Durability, Reply, Request};

/// How long a healthy cluster may take to become quiet after the last fault.
pub(crate) const QUIET_WITHIN: Duration = Duration::from_secs(90);

/// How long quiet has to last.
const QUIET_FOR: Duration = Duration::from_secs(3);

/// How long a cluster that is left alone settles before its rest is measured.
const SETTLE: Duration = Duration::from_secs(300);

/// How long a cluster has to come to rest after it is quiet: links made on demand are kept for a minute.
const CALM_DOWN: Duration = Duration::from_secs(70);
/// How long it is watched then.
const REST: Duration = Duration::from_secs(30);

/// How long messages may take to flow once the cluster is quiet.
const FLOW_WITHIN: Duration = Duration::from_secs(10);

/// Longer than anything is kept for the sake of those who have not heard of it.
pub(crate) const LONG: Duration = Duration::from_secs(900);

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// Everything that was not as it should be; empty for a good run.
    pub flaws: Vec<Flaw>,
    /// Hash of the trace.
    pub trace_hash: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// From the last fault to quiet.
    pub quiet_after: Option<Duration>,
    /// The last lines of the trace.
    pub trace: Vec<String>,
}

/// A network with this loss and jitter.
pub fn network(loss_per_mille: u64, jitter_ms: u64) -> NetworkFaults {
    NetworkFaults { loss_per_mille, jitter: Duration::from_millis(jitter_ms), ..NetworkFaults::default() }
}

/// A site under judgement.
pub(crate) struct Run {
    pub(crate) world: World,
    pub(crate) expected: Vec<Expectation>,
    pub(crate) flaws: Vec<Flaw>,
    /// Whether the registry rests when nothing goes wrong.
    pub(crate) rests: bool,
    /// From what parts that panic are drawn while other things go wrong, if they do.
    pub(crate) panics: Option<u64>,
}

/// A cluster to which nothing happens: every space starts exactly once, and messages flow.
pub fn calm(seed: u64, zhosts: usize) -> Report {
    let world = World::new(seed, Machines { zhosts, cameras: 2, measured: false }, network(0, 5));
    let mut run = Run::new(world);
    run.power_on();
    run.submit("alpha", 1, "sensors.camera");
    let quiet = run.wait_for_quiet("after the submit");
    run.check_flow();
    let starts: u32 = run.world.inspect().values().map(|view| view.starts).sum();
    if starts != 3 {
        run.object(Promise::Running, format!("3 spaces were started {starts} times"));
    }
    run.report(quiet.then_some(Duration::ZERO))
}

/// A cluster on a bad network to which nothing happens: what it does in that time, after some minutes of settling.
pub fn rest(seed: u64, zhosts: usize, length: Duration) -> (Rest, Report) {
    let world = World::new(seed, Machines { zhosts, cameras: 2, measured: false }, network(50, 50));
    let mut run = Run::new(world);
    run.power_on();
    run.submit("alpha", 1, "sensors.camera");
    run.submit("beta", 1, "data.read");
    let quiet = run.wait_for_quiet("after the submits");
    run.world.run_for(SETTLE);
    let rest = run.world.rest(length);
    (rest, run.report(quiet.then_some(Duration::ZERO)))
}

/// A cluster whose boards are killed and started again, and whose cables are pulled and put back, one after the other; then
/// nothing happens any more.
pub fn battered(seed: u64, zhosts: usize, mishaps: usize, length: Duration) -> (Rest, Report) {
    let world = World::new(seed, Machines { zhosts, cameras: 0, measured: true }, network(0, 5));
    let mut run = Run::new(world);
    run.power_on();
    run.agree("after the start");
    for mishap in 0..2 * mishaps {
        let victim = 1 + mishap % (zhosts - 1);
        let known = run.world.id(victim);
        let cable = mishap >= mishaps;
        match cable {
            true => run.world.partition(&[victim]),
            false => run.world.kill(victim),
        }
        let end = run.world.now() + QUIET_WITHIN;
        let others: Vec<usize> = (0..zhosts).filter(|index| *index != victim).collect();
        let gone = |world: &World| known.is_none_or(|id| others.iter().all(|index| !world.sees(*index, id)));
        run.world.run_until(end, gone);
        match cable {
            true => run.world.heal(),
            false => run.world.start(victim),
        }
        run.agree(&format!("after mishap {mishap}"));
    }
    run.world.run_for(CALM_DOWN);
    let rest = run.world.rest(length);
    (rest, run.report(Some(Duration::ZERO)))
}

/// What a cluster of this size does that never had a mishap.
fn idle(zhosts: usize) -> Rest {
    static KNOWN: Mutex<BTreeMap<usize, Rest>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(zhosts).or_insert_with(|| rest(0, zhosts, 2 * REST).0).clone()
}

/// A topology asks for a capability nobody has: it fails with the reason, and runs as soon as a zhost with it joins.
pub fn late_capability(seed: u64) -> Report {
    let world = World::new(seed, Machines { zhosts: 4, cameras: 1, measured: false }, network(20, 20));
    let mut run = Run::new(world);
    // The last board is the only one with a camera.
    (0..3).for_each(|index| run.world.start(index));
    run.submit("alpha", 1, "sensors.camera");
    run.change("alpha", "failed", 2);
    run.wait_for_quiet("without a camera");
    let reasons =
        run.world.inspect().into_values().filter_map(|view| view.topologies.get("alpha")?.2.clone());
    let wanted = "no zhost satisfies capability requirement 'sensors.camera'";
    let others: Vec<String> = reasons.filter(|reason| reason != wanted).collect();
    others.into_iter().for_each(|reason| run.object(Promise::Running, format!("the reason is {reason:?}")));
    run.world.start(3);
    run.change("alpha", "running", 3);
    let quiet = run.wait_for_quiet("with a camera");
    run.check_flow();
    run.report(quiet.then_some(Duration::ZERO))
}

/// A zhost whose gossip answers but whose core is wedged: nothing it says over links arrives, heartbeats neither. Its
/// super judges it failed and its spaces run elsewhere; when it speaks again, it is trusted again.
pub fn wedged(seed: u64) -> Report {
    let world = World::new(seed, Machines { zhosts: 5, cameras: 2, measured: false }, network(0, 5));
    let mut run = Run::new(world);
    run.power_on();
    run.submit("alpha", 1, "sensors.camera");
    run.wait_for_quiet("after the submit");
    let victim = run.world.live().into_iter().find(|index| run.world.runs(*index, "alpha", "eye"));
    let Some(victim) = victim else {
        run.object(Promise::Running, "the camera space runs nowhere");
        return run.report(None);
    };
    run.world.mute_links(victim, true);
    let end = run.world.now() + Duration::from_secs(12);
    let moved = run.world.run_until(end, |world| {
        let heir = world.live().into_iter().find(|index| world.runs(*index, "alpha", "eye"));
        heir.is_some_and(|heir| heir != victim)
            && world.inspect().values().all(|view| view.members.len() == 5)
    });
    if !moved {
        run.object(Promise::Running, "the wedged zhost keeps its spaces, or gossip lost it");
    }
    run.world.mute_links(victim, false);
    let quiet = run.wait_for_quiet("after it spoke again");
    run.report(quiet.then_some(Duration::ZERO))
}

/// Four boards in a line, of which only neighbours can be linked: messages from one end to the other pass two relays,
/// while links break again and again. All of them arrive, once and in order.
pub fn three_hops(seed: u64, messages: u64, breaks: u32) -> Report {
    let world = World::new(seed, Machines { zhosts: 4, cameras: 1, measured: false }, network(10, 2));
    let mut run = Run::new(world);
    [(0, 2), (0, 3), (1, 3)].into_iter().for_each(|(a, b)| run.world.wall_off(a, b));
    run.power_on();
    run.submit_package("flood", 1, 3, guests::flood("flood"));
    run.wait_for_quiet("after the submit");
    let start = run.world.delivered();
    for broken in 1..=breaks {
        let near = run.world.rng().below(3) as usize;
        run.world.break_link(near, near + 1);
        let goal = start + messages * u64::from(broken) / u64::from(breaks);
        let end = run.world.now() + FLOW_WITHIN;
        if !run.world.run_until(end, |world| world.delivered() >= goal) {
            let stop = format!("after {broken} breaks, messages stop at {}", run.world.delivered());
            run.object(Promise::Flow, stop);
            return run.report(None);
        }
    }
    let (told, relayed) = (run.world.told_undelivered(), run.world.relayed());
    if told > 0 {
        run.object(Promise::Flow, format!("{told} messages were given up"));
    }
    if relayed == 0 {
        run.object(Promise::Flow, "nothing was relayed");
    }
    run.flaws.extend(run.world.unexplained(start));
    run.report(Some(Duration::ZERO))
}

/// A deleted topology is remembered as long as a zhost that is away may bring it back, and then forgotten; what such
/// a zhost brings back later never does harm to a new topology of the same name.
pub fn forgotten(seed: u64) -> Report {
    let world = World::new(seed, Machines { zhosts: 5, cameras: 2, measured: false }, network(20, 20));
    let mut run = Run::new(world);
    run.power_on();
    run.submit("alpha", 1, "sensors.camera");
    run.wait_for_quiet("after the submit");
    let away = run.world.rng().below(5) as usize;
    run.world.cut_power(away);
    run.delete("alpha");
    run.world.run_for(LONG);
    if run.topology_documents().contains(&0) {
        run.object(Promise::Purge, "the topology is forgotten although a zhost that is away holds it");
    }
    run.world.start(away);
    run.wait_for_quiet("after the zhost came back");
    run.world.run_for(LONG);
    if run.topology_documents() != [0; 5] {
        let kept = run.topology_documents();
        run.object(Promise::Purge, format!("documents of a deleted topology are kept: {kept:?}"));
    }
    run.submit("alpha", 1, "sensors.camera");
    run.wait_for_quiet("after the second submit");
    run.delete("alpha");
    // Sometimes it knows by then that all the others know, sometimes not.
    let pause = run.world.rng().below(40);
    run.world.run_for(Duration::from_secs(pause));
    run.world.cut_power(away);
    run.world.run_for(LONG);
    run.submit("alpha", 1, "sensors.camera");
    run.wait_for_quiet("after the third submit");
    run.world.start(away);
    let quiet = run.wait_for_quiet("after the zhost came back with what it held");
    run.check_flow();
    run.report(quiet.then_some(Duration::ZERO))
}

/// Join, submit, and whatever mishaps the seed draws; then quiet.
pub fn faults(seed: u64, zhosts: usize, verbose: bool) -> Report {
    faults_with(seed, zhosts, verbose, false)
}

/// The same, perhaps with parts that panic.
pub(crate) fn faults_with(seed: u64, zhosts: usize, verbose: bool, panics: bool) -> Report {
    let mut world = World::new(seed, Machines { zhosts, cameras: 2, measured: false }, network(50, 50));
    world.verbose = verbose;
    let mut run = Run::new(world);
    run.power_on();
    run.submit("alpha", 1, "sensors.camera");
    run.wait_for_quiet("after the first submit");
    run.submit("beta", 1, "data.read");
    run.panics = panics.then_some(seed);
    if run.flaws.is_empty() {
        let mut done = 0;
        run.trouble(|run| chore(run, &mut done));
    }
    let start = run.world.now();
    let quiet = run.wait_for_quiet("after the faults");
    let quiet_after = quiet.then(|| run.world.now().since(start));
    if quiet {
        run.check_flow();
        run.check_rest();
    }
    run.report(quiet_after)
}

/// What an operator does in between, now and then.
fn chore(run: &mut Run, done: &mut u32) {
    let what = run.world.rng().below(12);
    *done += u32::from(what < 2);
    match what {
        0 => run.submit("alpha", 1 + *done, "sensors.camera"),
        1 => run.stop("beta"),
        _ => {}
    }
}

impl Run {
    pub(crate) fn new(mut world: World) -> Self {
        world.tell_options();
        Self { world, expected: Vec::new(), flaws: Vec::new(), rests: true, panics: None }
    }

    pub(crate) fn object(&mut self, promise: Promise, text: impl Into<String>) {
        self.flaws.push(promise.broken(text));
    }

    pub(crate) fn report(mut self, quiet_after: Option<Duration>) -> Report {
        (0..self.world.size()).for_each(|index| self.world.tell_again(index));
        self.flaws.extend(self.world.objections().to_vec());
        Report {
            flaws: self.flaws,
            trace_hash: self.world.trace_hash(),
            simulated: self.world.now().since(Instant::ZERO),
            quiet_after,
            trace: self.world.trace().cloned().collect(),
        }
    }

    /// Messages must flow into the stores of running topologies, and no sender may lack what it was not told of.
    pub(crate) fn check_flow(&mut self) {
        let seen = self.world.delivered();
        let names = self.running();
        for (name, path) in names.iter().flat_map(|name| [(name, "look"), (name, "tick")]) {
            // The first that arrives may be old; a second one proves that they flow.
            for _ in 0..2 {
                let before = self.world.stored_count(name, path);
                let end = self.world.now() + FLOW_WITHIN;
                let moves =
                    |world: &World| world.stored_count(name, path).is_some_and(|count| Some(count) != before);
                if !self.world.run_until(end, moves) {
                    self.object(Promise::Flow, format!("no messages reach the store of {name} along {path}"));
                }
            }
        }
        self.flaws.extend(self.world.unexplained(seen));
    }

    /// A cluster that was helped through mishaps is at rest like one that never had any.
    fn check_rest(&mut self) {
        let idle = idle(self.world.size());
        self.world.run_for(CALM_DOWN);
        let mut rest = self.world.rest(REST);
        // Here and there something settles late: what never ends is seen the second time, too. An accusation that stood so
        // long is none of that sort.
        if rest.accusations == 0 && !rest.busier_than(&idle).is_empty() {
            rest = self.world.rest(REST);
        }
        rest.busier_than(&idle).into_iter().for_each(|flaw| self.object(Promise::Rest, flaw));
    }

    pub(crate) fn power_on(&mut self) {
        for index in 0..self.world.size() {
            self.world.start(index);
            let pause = self.world.rng().below(500);
            self.world.run_for(Duration::from_millis(pause));
        }
    }

    pub(crate) fn wait_for_quiet(&mut self, when: &str) -> bool {
        let end = self.world.now() + QUIET_WITHIN;
        let expected = self.expected.clone();
        let rests = self.rests;
        let well = |world: &World| referee::judge(world, &expected, rests).is_empty();
        // Quiet must last: what only passes through a good state is not well.
        let mut quiet = false;
        while !quiet && self.world.run_until(end, well) {
            let lasts_until = self.world.now() + QUIET_FOR;
            quiet = !self.world.run_until(lasts_until, |world| !well(world));
        }
        if !quiet {
            let verdict = referee::judge(&self.world, &expected, rests);
            self.flaws.extend(verdict.into_iter().map(|flaw| flaw.at(when)));
        }
        quiet
    }

    fn agree(&mut self, when: &str) {
        let end = self.world.now() + QUIET_WITHIN;
        if !self.world.run_until(end, World::is_agreed) {
            self.object(Promise::Agreement, format!("{when}: the boards do not agree"));
        }
    }

    /// Asks live boards until one answers with anything but a refusal.
    pub(crate) fn command(&mut self, request: &Request) -> Option<Reply> {
        if self.world.live().is_empty() {
            return None;
        }
        let taken = self.ask_around(request);
        if taken.is_err() {
            self.object(Promise::Answer, format!("no board took the command {request:.40?}"));
        }
        taken.ok()
    }

    /// The same; else whether one that was asked before and said nothing may have carried it out, since the last says that
    /// there is no such topology.
    fn ask_around(&mut self, request: &Request) -> Result<Reply, bool> {
        let (mut was_silent, mut may_be_done) = (false, false);
        for _ in 0..10 {
            let live = self.world.live();
            let index = *self.world.rng().pick(&live).ok_or(false)?;
            let number = self.world.ask(index, request);
            let end = self.world.now() + Duration::from_secs(40);
            self.world.run_until(end, |world| world.reply(number).is_some());
            match self.world.reply(number) {
                Some(Some(Reply::Refused(reason))) => {
                    may_be_done = was_silent && reason.contains("no topology");
                }
                Some(Some(reply)) => return Ok(reply.clone()),
                Some(None) | None => (was_silent, may_be_done) = (true, false),
            }
            self.world.run_for(Duration::from_secs(1));
        }
        Err(may_be_done)
    }

    pub(crate) fn submit(&mut self, name: &str, version: u32, capability: &str) {
        self.submit_package(name, version, 3, guests::package(name, version, capability));
    }

    /// Has one board take a topology.
    pub(crate) fn submit_at(&mut self, index: usize, name: &str, capability: &str) {
        let request = Request::TopoSubmit(guests::package(name, 1, capability));
        let number = self.world.ask(index, &request);
        let end = self.world.now() + Duration::from_secs(40);
        self.world.run_until(end, |world| world.reply(number).is_some());
        let durability = match self.world.reply(number) {
            Some(Some(Reply::Submitted(submitted))) => submitted.durability,
            reply => {
                let text = format!("z{index} does not take {name}: {reply:.200?}");
                return self.object(Promise::Answer, text);
            }
        };
        let outcome = Outcome { version: "0.0.1".into(), state: "running", running: 3 };
        self.note(name, Some(outcome), durability);
    }

    /// Submits a package of which so many spaces are placed.
    pub(crate) fn submit_package(&mut self, name: &str, version: u32, placed: usize, package: Vec<u8>) {
        if let Some(Reply::Submitted(submitted)) = self.command(&Request::TopoSubmit(package)) {
            let outcome = Outcome { version: format!("0.0.{version}"), state: "running", running: placed };
            self.note(name, Some(outcome), submitted.durability);
        }
    }

    /// An operator was told what became of a write.
    fn note(&mut self, name: &str, outcome: Option<Outcome>, durability: Durability) {
        let lost = self.world.lost_flashes();
        self.expectation(name).note(outcome, durability, lost);
    }

    fn expectation(&mut self, name: &str) -> &mut Expectation {
        let known = self.expected.iter().position(|expectation| expectation.name == name);
        let index = known.unwrap_or_else(|| {
            self.expected.push(Expectation::new(name));
            self.expected.len() - 1
        });
        &mut self.expected[index]
    }

    /// A topology is in another state, although nobody has written anything.
    fn change(&mut self, name: &str, state: &'static str, running: usize) {
        self.expectation(name).change(state, running);
    }

    /// The topologies that run, as the first board sees it.
    fn running(&self) -> Vec<String> {
        let views = self.world.inspect();
        let known = views.values().next().map(|view| &view.topologies);
        let states = known.into_iter().flat_map(|known| known.iter());
        states.filter(|(_, (_, state, _))| *state == "running").map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn delete(&mut self, name: &str) {
        let request = Request::TopoDelete(name.into());
        match self.ask_around(&request) {
            Ok(Reply::Done(durability)) => self.note(name, None, durability),
            // What is deleted cannot be deleted again: whoever said nothing may have done it, on who knows how many flashes.
            Err(true) => self.note(name, None, Durability { copies: 0, wanted: 0 }),
            Ok(reply) => self.object(Promise::Answer, format!("{name} is not deleted: {reply:.200?}")),
            Err(false) => self.object(Promise::Answer, format!("no board deletes {name}")),
        }
    }

    /// How many documents of topologies each live board holds.
    fn topology_documents(&self) -> Vec<usize> {
        self.world.inspect().values().map(|view| view.topology_documents).collect()
    }

    pub(crate) fn stop(&mut self, name: &str) {
        if let Some(Reply::Done(durability)) = self.command(&Request::TopoStop(name.into())) {
            let last = self.expectation(name).last().cloned();
            let outcome = last.map(|last| Outcome { state: "stopped", running: 0, ..last });
            self.note(name, outcome, durability);
        }
    }
}
