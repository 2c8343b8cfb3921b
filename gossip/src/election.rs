//! Terms and their supers.
//!
//! Candidates are a pure function of what everybody sees. The first of them proposes a term one above the highest it
//! has seen; a zhost votes once per term and persists its vote before it gives it. With a majority of the roster the
//! term is *full*; when the rest of the roster cannot be reached it is *provisional*, which any full term outranks.
//! An incumbent is never toppled by a newcomer: nobody proposes while a term's leader is alive, except the leader
//! itself, to replace a dead super, to turn a provisional term into a full one, or because what it places is not obeyed
//! any more: while it was cut off, somebody since dead placed under a later term.

use crate::{
    datagram::{Datagram, Verdict},
    row::{Leadership, Supers},
};
use alloc::{collections::VecDeque, vec::Vec};
use core::time::Duration;
use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use zhost_base::{
    Instant, Rng, ZhostId,
    limits::SUPERS_MAX,
    planted::{self, Bug},
};

/// How long the leader's place must be vacant before somebody proposes; lets the view settle.
const VACANCY: Duration = Duration::from_millis(300);
/// How much longer each further candidate waits.
const RANK_WAIT: Duration = Duration::from_millis(1000);
/// How often unanswered vote requests are repeated.
const RESEND: Duration = Duration::from_millis(300);
/// How long to wait for votes before the term becomes provisional.
const CAMPAIGN: Duration = Duration::from_millis(2000);
/// How often a zhost that abstains asks for the terms of those who have not told.
const ASK_TERMS: Duration = Duration::from_millis(500);
/// How far above the highest term told a zhost votes that has forgotten its votes: one of them may have been the only other
/// vote of somebody who was not asked, or not heard of.
const FORGOTTEN_TERMS: u64 = 100;
/// A request for a vote in this term, which nobody can give, asks for the highest term.
const NO_TERM: u64 = 0;
/// How long a refused proposer waits before it tries again, at least.
const RETRY: Duration = Duration::from_millis(500);

/// A vote as it must be kept on flash: never two proposers in one term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// The highest term voted in.
    pub term: u64,
    /// For whom.
    pub proposer: Option<ZhostId>,
}

/// A live zhost as the election sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub id: ZhostId,
    /// Whether it may become super.
    pub eligible: bool,
    /// More is better.
    pub capacity: u32,
}

/// What the election decides on: the same on every zhost once gossip has settled.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The live zhosts whose profile is known, ourselves included.
    pub candidates: Vec<Candidate>,
    /// Everybody admitted to the cluster, sorted.
    pub roster: Vec<ZhostId>,
    /// The terms announced by live zhosts.
    pub leaderships: Vec<(ZhostId, Leadership)>,
    /// Whether we know enough of the cluster to take part.
    pub ready: bool,
    /// The highest term of any placement in the ledger: a new one must lie above it.
    pub placed_term: u64,
}

impl View {
    /// Whether placements of this term lose to what somebody placed under a later term.
    fn outranks(&self, leadership: &Leadership) -> bool {
        leadership.term < self.placed_term
    }
}

/// What the election wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElectionOutput {
    /// Send this datagram to a member.
    Send(ZhostId, Datagram),
    /// Put this ballot on flash, then call [`Election::handle_ballot_stored`].
    Persist(Ballot),
    /// Announce this term in our registry row, or withdraw it.
    Announce(Option<Leadership>),
    /// We abstained since our votes were lost, and need not any more.
    Informed,
}

#[derive(Debug)]
struct Campaign {
    term: u64,
    supers: Supers,
    answers: LiteMap<ZhostId, Verdict>,
    resend_at: Instant,
    ends_at: Instant,
}

/// What a zhost that has forgotten its votes knows of the terms of others.
#[derive(Debug)]
struct Abstention {
    told: LiteMap<ZhostId, u64>,
    ask_at: Instant,
    /// Enough have told; what follows is on its way to flash.
    is_informed: bool,
}

/// The election state machine of one zhost.
#[derive(Debug)]
pub struct Election {
    me: ZhostId,
    ballot: Ballot,
    /// Whose request waits for the ballot to reach flash.
    voter_waits: bool,
    highest_term: u64,
    view: View,
    /// The supers of the last term seen: incumbents come first.
    last_supers: Supers,
    campaign: Option<Campaign>,
    abstention: Option<Abstention>,
    mine: Option<Leadership>,
    propose_at: Option<Instant>,
    rng: Rng,
    outputs: VecDeque<ElectionOutput>,
}

/// How many supers a cluster of this many zhosts has.
pub fn supers_wanted(zhosts: usize) -> usize {
    match zhosts {
        0..10 => 1,
        10..50 => 3,
        50..200 => 5,
        _ => SUPERS_MAX,
    }
}

impl Election {
    /// The election as of the last ballot found on flash.
    pub fn new(me: ZhostId, ballot: Ballot, rng: Rng) -> Self {
        Self {
            me,
            ballot,
            voter_waits: false,
            highest_term: ballot.term,
            view: View::default(),
            last_supers: Supers::new(),
            campaign: None,
            abstention: None,
            mine: None,
            propose_at: None,
            rng,
            outputs: VecDeque::new(),
        }
    }

    /// Votes were given that are forgotten: gives none, and wins no full term, until so many others have told their highest
    /// terms that every term for which a majority can have voted is known.
    pub fn abstain(&mut self, now: Instant) {
        self.abstention = Some(Abstention { told: LiteMap::new(), ask_at: now, is_informed: false });
    }

    /// While we abstain: how many have told, and how many must.
    pub fn abstention(&self) -> Option<(usize, usize)> {
        let others = self.view.roster.iter().filter(|id| **id != self.me).count();
        // Any majority we were of has one of these in it.
        let needed = (self.view.roster.len() - self.view.roster.len() / 2).min(others);
        let told = self.abstention.as_ref()?.told.keys().filter(|id| self.is_in_roster(**id)).count();
        Some((told, needed))
    }

    /// Asks those who have not told for their highest terms, or ends the abstention if enough have.
    fn inform_ourselves(&mut self, now: Instant) {
        let Some((told, needed)) = self.abstention().filter(|_| self.view.ready) else { return };
        let Some(abstention) = &mut self.abstention else { return };
        let is_due = abstention.ask_at <= now;
        if is_due {
            abstention.ask_at = now + ASK_TERMS;
        }
        // Alone, nobody can be asked; and there is nobody whose term ours could be taken for.
        if needed > 0 && told >= needed && !abstention.is_informed {
            abstention.is_informed = true;
            let highest = abstention.told.values().copied().max().unwrap_or(0).max(self.highest_term);
            self.campaign = None;
            self.highest_term = highest.saturating_add(FORGOTTEN_TERMS);
            self.ballot = Ballot { term: self.highest_term, proposer: None };
            self.outputs.push_back(ElectionOutput::Persist(self.ballot));
        } else if is_due && abstention.is_informed {
            // The flash may have failed.
            self.outputs.push_back(ElectionOutput::Persist(self.ballot));
        } else if is_due {
            let candidates = self.view.candidates.iter().map(|candidate| candidate.id);
            let unheard = candidates.filter(|id| *id != self.me && !abstention.told.contains_key(id));
            let question = Datagram::VoteRequest { proposer: self.me, term: NO_TERM };
            self.outputs.extend(unheard.map(|id| ElectionOutput::Send(id, question.clone())));
        }
    }

    /// Leads no more: another start of this zhost takes part in its stead.
    pub fn retire(&mut self) {
        self.campaign = None;
        self.propose_at = None;
        if self.mine.take().is_some() {
            self.outputs.push_back(ElectionOutput::Announce(None));
        }
    }

    /// The term in force, and who announced it.
    pub fn leadership(&self) -> Option<(ZhostId, &Leadership)> {
        let others = self.view.leaderships.iter().filter(|(owner, _)| *owner != self.me);
        let all = others
            .map(|(owner, leadership)| (*owner, leadership))
            .chain(self.mine.as_ref().map(|mine| (self.me, mine)));
        all.max_by_key(|(owner, leadership)| (leadership.full, leadership.term, *owner))
    }

    /// The world as it is now.
    pub fn handle_view(&mut self, now: Instant, view: View) {
        self.view = view;
        let seen = self.view.leaderships.iter().map(|(_, leadership)| leadership.term).max().unwrap_or(0);
        self.highest_term = self.highest_term.max(seen).max(self.view.placed_term);
        if let Some((leader, leadership)) =
            self.leadership().map(|(leader, leadership)| (leader, leadership.clone()))
        {
            self.last_supers = leadership.supers;
            if leader != self.me {
                self.campaign = None;
                self.propose_at = None;
                if self.mine.take().is_some() {
                    self.outputs.push_back(ElectionOutput::Announce(None));
                }
            }
        }
        self.consider(now);
    }

    /// Starts, schedules or calls off a campaign of our own.
    fn consider(&mut self, now: Instant) {
        let Some(wait) = self.proposal_wait() else {
            self.propose_at = None;
            return;
        };
        if self.campaign.is_none() {
            let due = self.propose_at.map_or(now + wait, |due| due.min(now + wait));
            self.propose_at = Some(due);
            if due <= now {
                self.propose(now);
            }
        }
    }

    /// How long to wait before proposing, if we should. The first candidate goes first; the others follow one after
    /// the other, since zhosts that remember different incumbents may each take another for the first.
    fn proposal_wait(&self) -> Option<Duration> {
        let is_led = self.leadership().is_some_and(|(leader, _)| leader != self.me);
        let has_peers = self.view.roster.iter().any(|id| *id != self.me);
        if is_led || !self.view.ready || (self.abstention.is_some() && has_peers) {
            return None;
        }
        let rank = self.candidates_in_order().iter().position(|id| *id == self.me)?;
        match self.leadership() {
            Some((_, leadership)) => {
                let changed = self.wanted_supers().iter().any(|id| !leadership.supers.contains(id));
                let majority = self.majority_is_alive();
                let changed = changed || self.view.outranks(leadership);
                let worth_it = if leadership.full { changed && majority } else { changed || majority };
                worth_it.then_some(VACANCY)
            }
            None => Some(VACANCY + RANK_WAIT * rank as u32),
        }
    }

    /// Who should be super now: ourselves, since we propose it, and the first of the others.
    fn wanted_supers(&self) -> Supers {
        let others = self.candidates_in_order().into_iter().filter(|id| *id != self.me);
        let count = supers_wanted(self.view.candidates.len()).min(SUPERS_MAX);
        core::iter::once(self.me).chain(others).take(count).collect()
    }

    /// Those who may be super: incumbents, then capacity, then id.
    fn candidates_in_order(&self) -> Vec<ZhostId> {
        let mut order: Vec<_> = self.view.candidates.iter().filter(|candidate| candidate.eligible).collect();
        let incumbency = |id: &ZhostId| self.last_supers.iter().position(|s| s == id).unwrap_or(usize::MAX);
        order.sort_by_cached_key(|candidate| {
            (incumbency(&candidate.id), core::cmp::Reverse(candidate.capacity), candidate.id)
        });
        order.iter().map(|candidate| candidate.id).collect()
    }

    fn is_in_roster(&self, id: ZhostId) -> bool {
        self.view.roster.binary_search(&id).is_ok()
    }

    fn is_majority(&self, count: usize) -> bool {
        count * 2 > self.view.roster.len()
    }

    /// Whether a majority of those who are on the roster now has granted the campaign its vote.
    fn has_majority(&self) -> bool {
        let answers = self.campaign.iter().flat_map(|campaign| &campaign.answers);
        let granted =
            answers.filter(|(voter, verdict)| **verdict == Verdict::Granted && self.is_in_roster(**voter));
        self.is_majority(granted.count())
    }

    fn majority_is_alive(&self) -> bool {
        self.is_majority(
            self.view.candidates.iter().filter(|candidate| self.is_in_roster(candidate.id)).count(),
        )
    }

    fn propose(&mut self, now: Instant) {
        self.highest_term += 1;
        self.propose_at = None;
        self.campaign = Some(Campaign {
            term: self.highest_term,
            supers: self.wanted_supers(),
            answers: LiteMap::new(),
            resend_at: now + RESEND,
            ends_at: now + CAMPAIGN,
        });
        self.ballot = Ballot { term: self.highest_term, proposer: Some(self.me) };
        self.voter_waits = false;
        self.outputs.push_back(ElectionOutput::Persist(self.ballot));
        self.request_votes();
    }

    fn request_votes(&mut self) {
        let Some(campaign) = &self.campaign else { return };
        let request = Datagram::VoteRequest { proposer: self.me, term: campaign.term };
        for candidate in &self.view.candidates {
            if candidate.id != self.me
                && !campaign.answers.contains_key(&candidate.id)
                && self.is_in_roster(candidate.id)
            {
                self.outputs.push_back(ElectionOutput::Send(candidate.id, request.clone()));
            }
        }
    }

    /// Somebody asks for our vote.
    pub fn handle_vote_request(&mut self, proposer: ZhostId, term: u64) {
        self.highest_term = self.highest_term.max(term);
        let led_by_another = self.view.ready
            && self.leadership().is_some_and(|(leader, leadership)| leader != proposer && leadership.full);
        let may_vote = term > self.ballot.term || self.ballot == Ballot { term, proposer: Some(proposer) };
        if self.abstention.is_some() && term != NO_TERM {
            // Neither yes nor no: the others may be enough.
            return;
        }
        if planted::has(Bug::VoteTwice) {
            return self.answer(proposer, term, Verdict::Granted);
        }
        if led_by_another {
            self.answer(proposer, term, Verdict::LeaderAlive);
        } else if !may_vote {
            self.answer(proposer, term, Verdict::TermTaken);
        } else {
            if self.ballot.term < term {
                self.campaign = None;
            }
            self.ballot = Ballot { term, proposer: Some(proposer) };
            self.voter_waits = true;
            self.outputs.push_back(ElectionOutput::Persist(self.ballot));
        }
    }

    fn answer(&mut self, proposer: ZhostId, term: u64, verdict: Verdict) {
        let vote = Datagram::Vote { voter: self.me, proposer, term, highest: self.highest_term, verdict };
        self.outputs.push_back(ElectionOutput::Send(proposer, vote));
    }

    /// This ballot is on flash.
    pub fn handle_ballot_stored(&mut self, now: Instant, ballot: Ballot) {
        if ballot != self.ballot {
            return;
        }
        match ballot.proposer {
            Some(proposer) if proposer == self.me => {
                self.handle_vote(now, self.me, ballot.term, ballot.term, Verdict::Granted);
            }
            Some(proposer) if self.voter_waits => {
                self.voter_waits = false;
                self.answer(proposer, ballot.term, Verdict::Granted);
            }
            None if self.abstention.take().is_some() => {
                self.outputs.push_back(ElectionOutput::Informed);
                self.consider(now);
            }
            _ => {}
        }
    }

    /// A vote arrived.
    pub fn handle_vote(&mut self, now: Instant, voter: ZhostId, term: u64, highest: u64, verdict: Verdict) {
        self.highest_term = self.highest_term.max(highest);
        let in_roster = self.is_in_roster(voter);
        if let Some(abstention) = self.abstention.as_mut().filter(|_| term == NO_TERM) {
            abstention.told.insert(voter, highest);
            return self.inform_ourselves(now);
        }
        let Some(campaign) = self.campaign.as_mut().filter(|campaign| campaign.term == term && in_roster)
        else {
            return;
        };
        campaign.answers.insert(voter, verdict);
        if self.has_majority() {
            self.win(self.abstention.is_none());
        } else if verdict != Verdict::Granted {
            self.campaign = None;
            self.propose_at = Some(now + RETRY + Duration::from_millis(self.rng.below(500)));
        }
    }

    fn win(&mut self, full: bool) {
        let Some(campaign) = self.campaign.take() else { return };
        let leadership = Leadership { full, term: campaign.term, supers: campaign.supers };
        self.last_supers.clone_from(&leadership.supers);
        self.mine = Some(leadership.clone());
        self.outputs.push_back(ElectionOutput::Announce(Some(leadership)));
    }

    /// Repeats requests, ends campaigns, starts those that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.inform_ourselves(now);
        if let Some(campaign) = &mut self.campaign {
            if campaign.ends_at <= now {
                let own_vote_stored = campaign.answers.contains_key(&self.me);
                let changed = self.mine.as_ref().is_none_or(|mine| {
                    !mine.full && (mine.supers != campaign.supers || self.view.outranks(mine))
                });
                if !changed || !own_vote_stored {
                    // A term that would gain nothing goes on; without our own vote on flash there is no term.
                    self.campaign = None;
                    self.propose_at = Some(now + CAMPAIGN);
                } else {
                    self.win(false);
                }
            } else if campaign.resend_at <= now {
                campaign.resend_at = now + RESEND;
                self.request_votes();
            }
        }
        self.consider(now);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let campaign = match &self.campaign {
            Some(campaign) => Some((campaign.resend_at.min(campaign.ends_at), "vote requests")),
            None => self.propose_at.map(|due| (due, "propose a term")),
        };
        let abstention = self.abstention.as_ref().filter(|_| self.view.ready);
        campaign.into_iter().chain(abstention.map(|abstention| (abstention.ask_at, "ask for terms"))).min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<ElectionOutput> {
        self.outputs.pop_front()
    }
}

#[cfg(test)]
mod tests;
