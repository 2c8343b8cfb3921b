//! Elections: one leader, by majority where there is one, and never toppled by newcomers.

use super::*;
use alloc::collections::BTreeMap;
use alloc::vec;

/// A cluster of elections with instant messages and disks.
struct Cluster {
    now: Instant,
    elections: Vec<Option<Election>>,
    announced: BTreeMap<ZhostId, Reign>,
    /// Who can reach whom: equal numbers can.
    sides: Vec<u8>,
    /// Who does not know enough of the cluster to take part.
    unready: Option<usize>,
    placed_term: u64,
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
        }
    }

    fn view(&self, of: usize) -> View {
        let visible =
            |index: &usize| self.elections[*index].is_some() && self.sides[*index] == self.sides[of];
        let seen: Vec<usize> = (0..self.elections.len()).filter(visible).collect();
        let candidate = |index: &usize| Candidate { id: id(*index), eligible: *index != 0, capacity: 64 };
        let reigns =
            self.announced.iter().filter(|(owner, _)| seen.iter().any(|index| id(*index) == **owner));
        View {
            candidates: seen.iter().map(candidate).collect(),
            roster: (0..self.elections.len()).map(id).collect(),
            reigns: reigns.map(|(owner, reign)| (*owner, reign.clone())).collect(),
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
                if let Some(election) = &mut self.elections[index] {
                    election.handle_ballot_stored(now, ballot);
                }
            }
            ElectionOutput::Announce(Some(reign)) => drop(self.announced.insert(id(index), reign)),
            ElectionOutput::Announce(None) => drop(self.announced.remove(&id(index))),
        }
    }

    fn reign(&self, of: usize) -> Option<(ZhostId, bool, u64)> {
        let (leader, reign) = self.elections[of].as_ref()?.reign()?;
        Some((leader, reign.full, reign.term))
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
    assert_eq!(cluster.reign(0), Some((id(1), true, 1)));
    assert!((0..5).all(|index| cluster.reign(index) == cluster.reign(0)));
}

#[test]
fn a_dead_leader_is_replaced_and_the_returning_one_topples_nobody() {
    let mut cluster = Cluster::new(5);
    cluster.run_for(Duration::from_secs(5));
    cluster.kill(1);
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(cluster.reign(0), Some((id(2), true, 2)));
    cluster.elections[1] =
        Some(Election::new(id(1), Ballot { term: 1, proposer: Some(id(1)) }, Rng::from_number(9)));
    cluster.run_for(Duration::from_secs(10));
    assert_eq!(cluster.reign(1), Some((id(2), true, 2)));
    assert_eq!(cluster.announced.len(), 1);
}

#[test]
fn a_minority_gets_a_provisional_term_and_a_majority_outranks_it() {
    let mut cluster = Cluster::new(5);
    cluster.sides = vec![0, 0, 1, 1, 1];
    cluster.run_for(Duration::from_secs(10));
    let minority = cluster.reign(0).unwrap();
    assert_eq!((minority.0, minority.1), (id(1), false));
    assert_eq!(cluster.reign(3).map(|reign| (reign.0, reign.1)), Some((id(2), true)));
    cluster.sides = vec![0; 5];
    cluster.run_for(Duration::from_secs(10));
    assert!((0..5).all(|index| cluster.reign(index).is_some_and(|reign| reign.0 == id(2) && reign.1)));
    assert_eq!(cluster.announced.len(), 1, "the provisional super steps down");
}

#[test]
fn a_provisional_super_asks_again_once_a_majority_is_back() {
    let mut cluster = Cluster::new(3);
    cluster.sides = vec![1, 0, 2];
    cluster.run_for(Duration::from_secs(10));
    assert_eq!(cluster.reign(1).map(|reign| reign.1), Some(false));
    cluster.kill(2);
    cluster.sides = vec![0, 0, 0];
    cluster.run_for(Duration::from_secs(10));
    assert_eq!(cluster.reign(0).map(|reign| (reign.0, reign.1)), Some((id(1), true)));
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
    assert_eq!(cluster.reign(0), Some((id(2), true, 1)));
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
    assert!((0..5).all(|index| cluster.reign(index).is_some() && cluster.reign(index) == cluster.reign(0)));
    assert_eq!(cluster.announced.len(), 1);
}

#[test]
fn a_new_term_lies_above_every_placement_on_flash() {
    let mut cluster = Cluster::new(3);
    cluster.placed_term = 9;
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(cluster.reign(0).map(|reign| reign.2), Some(10));
}

#[test]
fn a_leader_whose_placements_are_outranked_proposes_anew() {
    for sides in [[0, 0, 0, 0, 0], [0, 0, 1, 1, 1]] {
        let mut cluster = Cluster::new(5);
        cluster.sides = sides.to_vec();
        cluster.run_for(Duration::from_secs(10));
        let (leader, is_full, _) = cluster.reign(0).unwrap();
        cluster.placed_term = 9;
        cluster.run_for(Duration::from_secs(10));
        assert_eq!(cluster.reign(0), Some((leader, is_full, 10)), "it leads on, above what somebody placed");
    }
}

#[test]
fn larger_clusters_have_more_supers() {
    assert_eq!([1, 9, 10, 50, 500].map(supers_wanted), [1, 1, 3, 5, 7]);
    let mut cluster = Cluster::new(12);
    cluster.run_for(Duration::from_secs(5));
    let reign = cluster.elections[0].as_ref().and_then(Election::reign).unwrap().1;
    assert_eq!(reign.supers.as_slice(), [id(1), id(2), id(3)]);
}
