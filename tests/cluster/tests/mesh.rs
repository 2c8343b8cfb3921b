//! Twenty real processes, each in a network namespace of its own: killed, stopped, cut off, deafened. Needs root.

use std::{
    env, fs,
    path::PathBuf,
    time::{Duration, Instant},
};
use zhost_cluster::{Cluster, Outcome, Programs, cast, net::Hosts, watch, without::do_without};

const ZHOSTS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(40);
/// How far away, one way, as over a bad radio link.
const FAR: Duration = Duration::from_millis(80);

struct Site {
    cluster: Cluster,
    dir: PathBuf,
}

impl Drop for Site {
    fn drop(&mut self) {
        // The processes end with the cluster.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Site {
    /// A cluster in which everybody has found everybody, with no address given; nothing without root.
    fn settled(name: &str) -> Option<Self> {
        let hosts = Hosts::switched(ZHOSTS).unwrap();
        if !hosts.have_cables() {
            do_without(&format!("mesh {name}: network namespaces take root")).unwrap();
            return None;
        }
        let dir = env::temp_dir().join(format!("zhost-mesh-{name}-{}", std::process::id()));
        let mut cluster =
            Cluster::create_on(&dir, &Programs::beside_tests().unwrap(), cast(ZHOSTS), hosts).unwrap();
        (0..ZHOSTS).for_each(|index| cluster.start(index).unwrap());
        let site = Self { cluster, dir };
        watch(PATIENCE, || Ok((site.alive()? == ZHOSTS).then_some(()))).unwrap();
        Some(site)
    }

    /// Zhosts that the first one sees alive and reporting to a super.
    fn alive(&self) -> Outcome<usize> {
        let zhosts = self.cluster.ask(&["cluster", "zhosts"])?;
        Ok(zhosts.as_array().map_or(0, |list| {
            list.iter().filter(|z| z["state"] == "alive" && z["super_node"] != "-").count()
        }))
    }

    fn name(&self, index: usize) -> &str {
        &self.cluster.zhosts[index].character.name
    }

    /// Whether all others that run have said since `marks` that a zhost is down.
    fn is_known(&self, victim: usize, marks: &[usize]) -> Outcome<bool> {
        let said = |index: usize| -> Outcome<bool> {
            let log = self.cluster.log(index)?;
            let news = format!("zhost {} (", self.name(victim));
            Ok(log[marks[index]..].lines().any(|line| line.contains(&news) && line.ends_with("is down")))
        };
        let others = (0..ZHOSTS).filter(|index| *index != victim);
        let mut running = others.filter(|index| self.cluster.zhosts[*index].process.is_some());
        running.try_fold(true, |all, index| Ok(all && said(index)?))
    }

    /// How long every log is.
    fn marks(&self) -> Vec<usize> {
        (0..ZHOSTS).map(|index| self.cluster.log(index).unwrap().len()).collect()
    }

    /// Waits until all others know that a zhost is down; gives how long that took.
    fn wait_for_death(&self, victim: usize, marks: &[usize]) -> Duration {
        let start = Instant::now();
        watch(PATIENCE, || Ok(self.is_known(victim, marks)?.then_some(()))).unwrap();
        start.elapsed()
    }

    /// Who has been said to be down since `marks`, by whom.
    fn deaths(&self, marks: &[usize]) -> Vec<(usize, String)> {
        let of = |index: usize| {
            let log = self.cluster.log(index).unwrap();
            let lines = log[marks[index]..].lines().filter(|line| line.ends_with("is down"));
            lines.map(|line| (index, line.to_owned())).collect::<Vec<_>>()
        };
        (0..ZHOSTS).flat_map(of).collect()
    }
}

#[test]
fn deaths_are_known_soon_and_the_dead_come_back() {
    let Some(mut site) = Site::settled("deaths") else { return };
    let marks = site.marks();
    site.cluster.kill(7).unwrap();
    let killed = site.wait_for_death(7, &marks);
    assert!(killed < Duration::from_secs(2), "a killed process was known after {killed:?}");
    let marks = site.marks();
    site.cluster.hosts().unwrap().plug(11, false).unwrap();
    let cut = site.wait_for_death(11, &marks);
    assert!(cut < Duration::from_secs(8), "a pulled cable was known after {cut:?}");
    site.cluster.hosts().unwrap().plug(11, true).unwrap();
    site.cluster.start(7).unwrap();
    watch(PATIENCE, || Ok((site.alive()? == ZHOSTS).then_some(()))).unwrap();
    site.cluster.end().unwrap();
}

#[test]
fn a_stopped_process_accuses_nobody_when_it_wakes_up() {
    let Some(mut site) = Site::settled("stopped") else { return };
    let marks = site.marks();
    site.cluster.signal(5, "STOP").unwrap();
    let asleep = Instant::now();
    watch(PATIENCE, || Ok((asleep.elapsed() > Duration::from_secs(4)).then_some(()))).unwrap();
    site.cluster.signal(5, "CONT").unwrap();
    let awake = Instant::now();
    watch(PATIENCE, || Ok((awake.elapsed() > Duration::from_secs(8)).then_some(()))).unwrap();
    let sleeper = format!("zhost {} (", site.name(5));
    let wrong: Vec<_> =
        site.deaths(&marks).into_iter().filter(|(_, line)| !line.contains(&sleeper)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(site.alive().unwrap(), ZHOSTS);
    site.cluster.end().unwrap();
}

#[test]
fn who_hears_but_cannot_speak_is_given_up_and_found_again() {
    let Some(mut site) = Site::settled("mute") else { return };
    let hosts = site.cluster.hosts().unwrap();
    (0..ZHOSTS).for_each(|host| hosts.lose(host, 2).unwrap());
    let marks = site.marks();
    hosts.mute(9, true).unwrap();
    site.wait_for_death(9, &marks);
    hosts.mute(9, false).unwrap();
    watch(PATIENCE, || Ok((site.alive()? == ZHOSTS).then_some(()))).unwrap();
    let others =
        site.deaths(&marks).into_iter().filter(|(by, line)| *by != 9 && !line.contains(site.name(9)));
    assert_eq!(others.count(), 0, "at two per cent loss nobody else was given up");
    site.cluster.end().unwrap();
}

#[test]
fn who_is_far_away_is_shown_so_and_taken_for_alive() {
    let Some(mut site) = Site::settled("delay") else { return };
    let hosts = site.cluster.hosts().unwrap();
    let log = site.dir.join("relay.log");
    let marks = site.marks();
    let relay = hosts.delay(6, FAR, &log).unwrap();
    let far = site.name(6).to_owned();
    let rtt_us = |name: &str| -> Outcome<Option<u64>> {
        let pings = site.cluster.ask(&["mesh", "ping", name])?;
        Ok(pings.as_array().and_then(|pings| pings.first()?["rtt_us"].as_u64()))
    };
    let least_us = 2 * FAR.as_micros() as u64;
    watch(PATIENCE, || Ok(rtt_us(&far)?.filter(|rtt_us| *rtt_us >= least_us))).unwrap();
    let near_us = watch(PATIENCE, || rtt_us(site.name(7))).unwrap();
    assert!(near_us < least_us, "the others are as near as before: {near_us} us");
    let begun = Instant::now();
    watch(PATIENCE, || Ok((begun.elapsed() > Duration::from_secs(8)).then_some(()))).unwrap();
    assert_eq!(site.deaths(&marks), [], "nobody is taken for dead");
    assert_eq!(site.alive().unwrap(), ZHOSTS);
    drop(relay);
    site.cluster.end().unwrap();
}
