//! A new agent for boards: one after the other, and no further than the first that fails.

use std::time::Duration;
use zhost_control::protocol::{Reply, Request};
use zhost_node::INSTALLED_WITHIN;
use zhost_sim::rollout::{Site, agent};

const SEEDS: u64 = 10;

#[test]
fn every_board_takes_a_new_agent_up_and_never_two_at_once() {
    for seed in 0..SEEDS {
        let mut site = Site::start(seed);
        let first = site.push(&agent(1));
        assert!(site.is_taken_up(first), "seed {seed}: {:?}", site.status());
        // Whoever is asked hears of it.
        site.world.run_for(Duration::from_secs(2));
        let status = site.status();
        assert_eq!(status.state, "done", "seed {seed}: {status:?}");
        let second = site.push(&agent(2));
        assert!(site.is_taken_up(second), "seed {seed}: {:?}", site.status());
        for index in 0..site.world.size() {
            assert_eq!(
                site.world.slots(index).started,
                [None, Some(first), Some(second)],
                "seed {seed}: z{index}"
            );
        }
    }
}

#[test]
fn a_board_that_does_not_find_the_cluster_goes_back_and_stops_the_others() {
    for seed in 0..SEEDS {
        let mut site = Site::start(seed);
        let blob = site.push(&agent(1));
        let victim = site.await_trial();
        // As if the new agent had no network.
        site.world.partition(&[victim]);
        site.world.run_for(Duration::from_secs(140));
        assert_eq!(site.world.slots(victim).started, [None, Some(blob), None], "seed {seed}");
        site.world.heal();
        site.world.run_for(Duration::from_secs(200));
        let status = site.status();
        assert_eq!(status.state, "halted", "seed {seed}: {status:?}");
        assert!(status.reason.contains("was not kept"), "seed {seed}: {status:?}");
        let others = (0..site.world.size()).filter(|index| *index != victim);
        for index in others.collect::<Vec<_>>() {
            assert_eq!(
                site.world.slots(index).started,
                [None],
                "seed {seed}: z{index} tried it all the same"
            );
        }
        // Pushed again, it is tried again.
        site.push(&agent(1));
        assert!(site.is_taken_up(blob), "seed {seed}: {:?}", site.status());
    }
}

#[test]
fn a_power_cut_during_a_trial_counts_as_a_failure() {
    for seed in 0..SEEDS {
        let mut site = Site::start(seed);
        site.push(&agent(1));
        let victim = site.await_trial();
        // It ends, and is about to find the cluster with the new agent.
        site.world.partition(&[victim]);
        site.world.run_for(Duration::from_secs(10));
        site.world.cut_power(victim);
        site.world.heal();
        site.world.run_for(Duration::from_secs(10));
        site.world.start(victim);
        site.world.run_for(Duration::from_secs(60));
        assert_eq!(site.status().state, "halted", "seed {seed}");
        assert_eq!(site.world.slots(victim).kept, None, "seed {seed}");
    }
}

#[test]
fn nobody_begins_while_a_board_is_away() {
    for seed in 0..SEEDS {
        let mut site = Site::start(seed);
        site.world.cut_power(1);
        site.world.run_for(Duration::from_secs(20));
        let blob = site.push(&agent(1));
        site.world.run_for(Duration::from_secs(60));
        assert_eq!((site.status().state.as_str(), site.trying()), ("waits", vec![]), "seed {seed}");
        site.world.start(1);
        assert!(site.is_taken_up(blob), "seed {seed}: {:?}", site.status());
    }
}

#[test]
fn an_operator_halts_it_and_pushes_again() {
    let mut site = Site::start(3);
    let blob = site.push(&agent(1));
    let victim = site.await_trial();
    assert!(matches!(site.ask(&Request::FirmwareHalt), Reply::Done(_)));
    site.world.run_for(Duration::from_secs(120));
    assert_eq!(site.status().state, "halted");
    let kept: Vec<_> = (0..site.world.size()).filter(|i| site.world.slots(*i).kept.is_some()).collect();
    assert_eq!(kept, [victim], "who was at it keeps it, and nobody else begins");
    site.push(&agent(1));
    assert!(site.is_taken_up(blob));
}

#[test]
fn an_agent_of_a_stranger_is_refused() {
    let mut site = Site::start(1);
    let mut agent = agent(1);
    *agent.last_mut().unwrap() ^= 1;
    assert!(
        matches!(site.ask(&Request::FirmwarePush(agent)), Reply::Refused(reason) if reason.contains("damaged"))
    );
}

#[test]
fn boards_without_a_clock_take_the_time_from_others() {
    for seed in 0..SEEDS {
        let mut site = Site::start(seed);
        site.world.run_for(Duration::from_secs(30));
        let off: Vec<_> =
            (0..site.world.size()).filter(|index| site.world.clock_error_ms(*index) > 2000).collect();
        let is_known = (0..site.world.size()).any(|index| site.world.has_time(index));
        assert!(off.is_empty() || !is_known, "seed {seed}: {off:?} have the wrong time");
    }
}

#[test]
fn an_installation_that_hangs_has_failed_after_a_while_and_is_not_waited_for() {
    let mut site = Site::start(1);
    let victims: Vec<usize> = (0..site.world.size()).collect();
    victims.iter().for_each(|index| site.world.slots(*index).hangs = true);
    let blob = site.push(&agent(1));
    site.world.run_for(INSTALLED_WITHIN / 2);
    let status = site.status();
    assert_eq!(status.state, "waits", "{status:?}");
    site.world.run_for(INSTALLED_WITHIN);
    let status = site.status();
    assert_eq!(status.state, "halted", "{status:?}");
    assert!(status.reason.contains("was not in its slot"), "{status:?}");
    // Pushed again, where nothing hangs any more, it is taken up.
    victims.iter().for_each(|index| site.world.slots(*index).hangs = false);
    site.push(&agent(1));
    assert!(site.is_taken_up(blob), "{:?}", site.status());
}
