//! Elections: one leader, by majority where there is one, and never toppled by newcomers.

use super::*;
use alloc::collections::BTreeMap;
use alloc::vec;

/// A cluster of elections with instant messages and disks.
struct Cluster {
    now: Instant,
    elections: Vec<Option<Election>>,
    announced: BTreeMap<ZhostId, Leadership>,
    /// Who can reach whom: equal numbers can.
    sides: Vec<u8>,
    /// Who does not know enough of the cluster to take part.
    unready: Option<usize>,
    placed_term: u64,
    /// The last ballot that each put on flash.
    ballots: BTreeMap<usize, Ballot>,
    /// Who led each full term, and the terms that two led.
    leaders: BTreeMap<u64, ZhostId>,
    doubled: Vec<u64>,
}

fn id(index: usize) -> ZhostId {
    ZhostId(1 + index as u64)
}

impl Cluster {
    fn new(count: usize) -> Self {
        let start = |index| Some(Election::new(id(index), Ballot::default(), Rng::from_number(index as u64)));
        let elections = (0..count).map(start).collect();
        Self {
            now: Instant::from_micros(1),
            elections,
            announced: BTreeMap::new(),
            sides: vec![0; count],
            unready: None,
            placed_term: 0,
            ballots: BTreeMap::new(),
            leaders: BTreeMap::new(),
            doubled: Vec::new(),
        }
    }

    fn view(&self, of: usize) -> View {
        let visible =
            |index: &usize| self.elections[*index].is_some() && self.sides[*index] == self.sides[of];
        let seen: Vec<usize> = (0..self.elections.len()).filter(visible).collect();
        let candidate = |index: &usize| Candidate { id: id(*index), eligible: *index != 0, capacity: 64 };
        let leaderships =
            self.announced.iter().filter(|(owner, _)| seen.iter().any(|index| id(*index) == **owner));
        View {
            candidates: seen.iter().map(candidate).collect(),
            roster: (0..self.elections.len()).map(id).collect(),
            leaderships: leaderships.map(|(owner, leadership)| (*owner, leadership.clone())).collect(),
            ready: self.unready != Some(of),
            placed_term: self.placed_term,
        }
    }

    fn deliver(&mut self, from: usize, to: ZhostId, datagram: Datagram) {
        let (to, now) = (to.0 as usize - 1, self.now);
        if self.sides[from] != self.sides[to] {
            return;
        }
        let Some(election) = &mut self.elections[to] else { return };
        match datagram {
            Datagram::VoteRequest { proposer, term } => election.handle_vote_request(proposer, term),
            Datagram::Vote { voter, proposer, term, highest, verdict } => {
                assert_eq!(proposer, id(to), "a vote goes to whom it is for");
                election.handle_vote(now, voter, term, highest, verdict)
            }
            _ => {}
        }
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now += Duration::from_millis(50);
            for index in 0..self.elections.len() {
                let (view, now) = (self.view(index), self.now);
                let Some(election) = &mut self.elections[index] else { continue };
                election.handle_view(now, view);
                election.handle_timeout(now);
            }
            for _ in 0..4 {
                for index in 0..self.elections.len() {
                    while let Some(output) = self.elections[index].as_mut().and_then(Election::poll_output) {
                        self.carry_out(index, output);
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, index: usize, output: ElectionOutput) {
        let now = self.now;
        match output {
            ElectionOutput::Send(to, datagram) => self.deliver(index, to, datagram),
            ElectionOutput::Persist(ballot) => {
                self.ballots.insert(index, ballot);
                if let Some(election) = &mut self.elections[index] {
                    election.handle_ballot_stored(now, ballot);
                }
            }
            ElectionOutput::Announce(Some(leadership)) => {
                if leadership.full && *self.leaders.entry(leadership.term).or_insert(id(index)) != id(index) {
                    self.doubled.push(leadership.term);
                }
                self.announced.insert(id(index), leadership);
            }
            ElectionOutput::Announce(None) => drop(self.announced.remove(&id(index))),
            ElectionOutput::Informed => {}
        }
    }

    fn leadership(&self, of: usize) -> Option<(ZhostId, bool, u64)> {
        let (leader, leadership) = self.elections[of].as_ref()?.leadership()?;
        Some((leader, leadership.full, leadership.term))
    }

    /// Starts one again: with what it had on flash, or with nothing and, if it `abstains`, knowing that.
    fn restart(&mut self, index: usize, is_emptied: bool, abstains: bool) {
        self.kill(index);
        let ballot = if is_emptied {
            Ballot::default()
        } else {
            self.ballots.get(&index).copied().unwrap_or_default()
        };
        let mut election =
            Election::new(id(index), ballot, Rng::from_number(index as u64 + ballot.term * 100));
        if is_emptied && abstains {
            election.abstain(self.now);
        }
        self.elections[index] = Some(election);
    }

    fn abstention(&self, index: usize) -> Option<(usize, usize)> {
        self.elections[index].as_ref()?.abstention()
    }

    fn kill(&mut self, index: usize) {
        self.elections[index] = None;
        self.announced.remove(&id(index));
    }
}

#[test]
fn all_agree_on_one_eligible_leader_by_majority() {
    let mut cluster = Cluster::new(5);
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(cluster.leadership(0), Some((id(1), true, 1)));
    assert!((0..5).all(|index| cluster.leadership(index) == cluster.leadership(0)));
}

#[test]
fn a_dead_leader_is_replaced_and_the_returning_one_topples_nobody() {
    let mut cluster = Cluster::new(5);
    cluster.run_for(Duration::from_secs(5));
    cluster.kill(1);
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(cluster.leadership(0), Some((id(2), true, 2)));
    cluster.elections[1] =
        Some(Election::new(id(1), Ballot { term: 1, proposer: Some(id(1)) }, Rng::from_number(9)));
    cluster.run_for(Duration::from_secs(10));
    assert_eq!(cluster.leadership(1), Some((id(2), true, 2)));
    assert_eq!(cluster.announced.len(), 1);
}

#[test]
fn a_minority_gets_a_provisional_term_and_a_majority_outranks_it() {
    let mut cluster = Cluster::new(5);
    cluster.sides = vec![0, 0, 1, 1, 1];
    cluster.run_for(Duration::from_secs(10));
    let minority = cluster.leadership(0).unwrap();
    assert_eq!((minority.0, minority.1), (id(1), false));
    assert_eq!(cluster.leadership(3).map(|leadership| (leadership.0, leadership.1)), Some((id(2), true)));
    cluster.sides = vec![0; 5];
    cluster.run_for(Duration::from_secs(10));
    assert!((0..5).all(|index| {
        cluster.leadership(index).is_some_and(|leadership| leadership.0 == id(2) && leadership.1)
    }));
    assert_eq!(cluster.announced.len(), 1, "the provisional super steps down");
}

#[test]
fn a_provisional_super_asks_again_once_a_majority_is_back() {
    let mut cluster = Cluster::new(3);
    cluster.sides = vec![1, 0, 2];
    cluster.run_for(Duration::from_secs(10));
    assert_eq!(cluster.leadership(1).map(|leadership| leadership.1), Some(false));
    cluster.kill(2);
    cluster.sides = vec![0, 0, 0];
    cluster.run_for(Duration::from_secs(10));
    assert_eq!(cluster.leadership(0).map(|leadership| (leadership.0, leadership.1)), Some((id(1), true)));
}

#[test]
fn nobody_votes_twice_in_a_term() {
    let mut election = Election::new(id(0), Ballot { term: 4, proposer: Some(id(1)) }, Rng::from_number(1));
    let verdict = |election: &mut Election, proposer, term| {
        election.handle_vote_request(proposer, term);
        match election.poll_output() {
            Some(ElectionOutput::Send(_, Datagram::Vote { verdict, .. })) => verdict,
            Some(ElectionOutput::Persist(ballot)) => {
                election.handle_ballot_stored(Instant::ZERO, ballot);
                election.poll_output();
                Verdict::Granted
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(verdict(&mut election, id(2), 4), Verdict::TermTaken);
    assert_eq!(verdict(&mut election, id(1), 4), Verdict::Granted, "the same vote again");
    assert_eq!(verdict(&mut election, id(2), 3), Verdict::TermTaken);
    assert_eq!(verdict(&mut election, id(2), 5), Verdict::Granted);
    assert_eq!(verdict(&mut election, id(1), 5), Verdict::TermTaken);
}

#[test]
fn when_the_first_candidate_cannot_the_next_one_does() {
    let mut cluster = Cluster::new(5);
    cluster.unready = Some(1);
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(cluster.leadership(0), Some((id(2), true, 1)));
}

#[test]
fn zhosts_that_remember_different_incumbents_still_elect_one() {
    let mut cluster = Cluster::new(5);
    cluster.run_for(Duration::from_secs(5));
    // The leader restarts before anybody notices: the others wait for it, and it has forgotten that it led.
    cluster.kill(1);
    cluster.elections[1] =
        Some(Election::new(id(1), Ballot { term: 1, proposer: Some(id(1)) }, Rng::from_number(9)));
    cluster.run_for(Duration::from_secs(8));
    assert!((0..5).all(
        |index| cluster.leadership(index).is_some() && cluster.leadership(index) == cluster.leadership(0)
    ));
    assert_eq!(cluster.announced.len(), 1);
}

#[test]
fn a_new_term_lies_above_every_placement_on_flash() {
    let mut cluster = Cluster::new(3);
    cluster.placed_term = 9;
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(cluster.leadership(0).map(|leadership| leadership.2), Some(10));
}

#[test]
fn a_leader_whose_placements_are_outranked_proposes_anew() {
    for sides in [[0, 0, 0, 0, 0], [0, 0, 1, 1, 1]] {
        let mut cluster = Cluster::new(5);
        cluster.sides = sides.to_vec();
        cluster.run_for(Duration::from_secs(10));
        let (leader, is_full, _) = cluster.leadership(0).unwrap();
        cluster.placed_term = 9;
        cluster.run_for(Duration::from_secs(10));
        assert_eq!(
            cluster.leadership(0),
            Some((leader, is_full, 10)),
            "it leads on, above what somebody placed"
        );
    }
}

#[test]
fn larger_clusters_have_more_supers() {
    assert_eq!([1, 9, 10, 50, 500].map(supers_wanted), [1, 1, 3, 5, 7]);
    let mut cluster = Cluster::new(12);
    cluster.run_for(Duration::from_secs(5));
    let leadership = cluster.elections[0].as_ref().and_then(Election::leadership).unwrap().1;
    assert_eq!(leadership.supers.as_slice(), [id(1), id(2), id(3)]);
}

#[test]
fn who_forgot_its_votes_gives_none_until_enough_have_told() {
    for (count, needed) in [(2, 1), (3, 2), (4, 2), (5, 3), (7, 4), (20, 10)] {
        let mut cluster = Cluster::new(count);
        cluster.run_for(Duration::from_secs(5));
        let last = count - 1;
        // One too few can be reached.
        cluster.sides = (0..count).map(|index| u8::from(index < last && index + 1 >= needed)).collect();
        cluster.restart(last, true, true);
        cluster.run_for(Duration::from_secs(5));
        assert_eq!(cluster.abstention(last), Some((needed - 1, needed)), "of {count}");
        let election = cluster.elections[last].as_mut().unwrap();
        election.handle_vote_request(id(0), 50);
        assert_eq!(election.poll_output(), None, "neither a vote nor a refusal, of {count}");
        cluster.sides = vec![0; count];
        cluster.run_for(Duration::from_secs(2));
        assert_eq!(cluster.abstention(last), None, "of {count}");
        let ballot = cluster.ballots[&last];
        assert!(ballot.term >= 50 + FORGOTTEN_TERMS, "{ballot:?}");
        // Its vote counts again: with it, and not without it, there is a majority.
        (0..count - count / 2 - 1).for_each(|index| cluster.kill(index));
        cluster.run_for(Duration::from_secs(20));
        assert!(
            cluster.leadership(last).is_some_and(|(_, full, _)| full),
            "of {count}: {:?}",
            cluster.leadership(last)
        );
    }
}

#[test]
fn alone_without_its_votes_a_zhost_leads_but_no_full_term() {
    let mut election = Election::new(id(1), Ballot::default(), Rng::from_number(1));
    election.abstain(Instant::ZERO);
    let me = Candidate { id: id(1), eligible: true, capacity: 1 };
    let view = View { candidates: vec![me], roster: vec![id(1)], ready: true, ..View::default() };
    let mut announced = None;
    for second in 0..5 {
        let now = Instant::ZERO + Duration::from_secs(second);
        election.handle_view(now, view.clone());
        election.handle_timeout(now);
        while let Some(output) = election.poll_output() {
            match output {
                ElectionOutput::Persist(ballot) => election.handle_ballot_stored(now, ballot),
                ElectionOutput::Announce(leadership) => announced = leadership,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(announced.map(|leadership| leadership.full), Some(false));
    assert_eq!(election.abstention(), Some((0, 0)));
}

/// Restarts, some with an emptied flash, and partitions, as chance has it; the terms that two led.
fn doubled_terms(count: usize, seed: u64, abstains: bool) -> Vec<u64> {
    let mut rng = Rng::from_number(seed);
    let mut cluster = Cluster::new(count);
    for _ in 0..40 {
        match rng.below(4) {
            0 => cluster.sides = (0..count).map(|_| rng.below(2) as u8).collect(),
            1 => cluster.sides = vec![0; count],
            choice => {
                let victim = rng.below(count as u64) as usize;
                cluster.restart(victim, choice == 2, abstains);
            }
        }
        cluster.run_for(Duration::from_millis(50 + rng.below(3000)));
    }
    cluster.sides = vec![0; count];
    cluster.run_for(Duration::from_secs(20));
    let leader = cluster.leadership(0);
    assert!(leader.is_some_and(|(_, full, _)| full), "{count}, seed {seed}: {leader:?}");
    cluster.doubled
}

#[test]
fn no_full_term_has_two_leaders_though_flash_is_emptied_in_the_middle_of_elections() {
    for (count, seeds) in [(3, 200), (7, 100), (20, 20)] {
        for seed in 0..seeds {
            assert_eq!(doubled_terms(count, seed, true), [0; 0], "{count} zhosts, seed {seed}");
        }
    }
    let careless = (0..200).filter(|seed| !doubled_terms(3, *seed, false).is_empty()).count();
    assert!(careless > 0, "who votes as if nothing had happened is never caught: this test is blind");
}

#[test]
fn votes_of_those_who_left_the_roster_meanwhile_elect_nobody() {
    let mut now = Instant::from_micros(1);
    let mut election = Election::new(id(1), Ballot::default(), Rng::from_number(1));
    let mut view = Cluster::new(5).view(1);
    election.handle_view(now, view.clone());
    while election.campaign.is_none() {
        now += Duration::from_millis(50);
        election.handle_timeout(now);
    }
    for voter in [2, 3] {
        election.handle_vote(now, id(voter), 1, 1, Verdict::Granted);
    }
    view.roster = [0, 1, 4].map(id).to_vec();
    election.handle_view(now, view);
    election.handle_ballot_stored(now, Ballot { term: 1, proposer: Some(id(1)) });
    assert!(election.campaign.is_some(), "its own vote is one of three");
    election.handle_vote(now, id(4), 1, 1, Verdict::Granted);
    assert!(election.campaign.is_none(), "two of three");
    let outputs = core::iter::from_fn(|| election.poll_output());
    let won = |output: &ElectionOutput| matches!(output, ElectionOutput::Announce(Some(term)) if term.full);
    assert_eq!(outputs.filter(won).count(), 1);
}
