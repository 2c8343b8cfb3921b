//! Names as one zhost grants and holds them; how several do is in the tests of actors.

use super::*;
use crate::{effects::Effect, facts::fixture};
use zhost_base::Rng;
use zhost_gossip::{election::View, registry::Carrier, row::Leadership};

const ID: TopologyId = TopologyId([1; 16]);
const ME: ZhostId = ZhostId(1);
const OTHER: ZhostId = ZhostId(2);

/// What the first of two zhosts knows, whose only super is this one.
fn facts(supers: &[ZhostId]) -> Facts {
    let mut facts = fixture::facts(&[ME, OTHER], []);
    let leadership = Leadership { full: true, term: 3, supers: supers.iter().copied().collect() };
    let view = View {
        roster: vec![ME, OTHER],
        leaderships: vec![(ZhostId(9), leadership)],
        ready: true,
        ..View::default()
    };
    facts.election.handle_view(Instant::ZERO, view);
    facts
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn pid(zhost: ZhostId, number: u32) -> Pid {
    Pid { zhost, generation: zhost_base::Generation(1), number }
}

/// What a claim is answered.
fn claim(
    grants: &mut Grants,
    now: Instant,
    facts: &Facts,
    text: &str,
    pid: Pid,
) -> Result<PlacementVersion, i8> {
    let mut effects = Effects::default();
    grants.handle_claim(now, facts, ID, name(text), (pid, 1), &mut effects);
    let [Effect::Actor(to, ID, answer)] = &effects.into_iter().collect::<Vec<_>>()[..] else {
        panic!("one answer")
    };
    assert_eq!(*to, pid.zhost);
    match answer {
        ActorMessage::Granted(_, _, 1, Some(grant)) => Ok(*grant),
        ActorMessage::Granted(_, _, 1, None) => Err(Refusal::Taken as i8),
        ActorMessage::Refused(_, 1, code) => Err(*code),
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn a_name_is_granted_to_one_and_again_when_it_is_released_or_its_holder_is_dead() {
    let (mut grants, facts, now) = (Grants::default(), facts(&[ME]), Instant::ZERO);
    let first = claim(&mut grants, now, &facts, "ear", pid(OTHER, 1)).unwrap();
    assert_eq!((first.term, first.coordinator), (3, ME));
    assert_eq!(claim(&mut grants, now, &facts, "ear", pid(ME, 1)), Err(Refusal::Taken as i8));
    let again = claim(&mut grants, now, &facts, "ear", pid(OTHER, 1)).unwrap();
    assert!(again > first, "who has it may ask again, and later grants are greater");
    grants.release(ID, &name("ear"), pid(ME, 1));
    assert_eq!(
        claim(&mut grants, now, &facts, "ear", pid(ME, 1)),
        Err(Refusal::Taken as i8),
        "not his to release"
    );
    grants.release(ID, &name("ear"), pid(OTHER, 1));
    assert!(claim(&mut grants, now, &facts, "ear", pid(ME, 1)).is_ok());
    // One of a start that is past.
    let dead = Pid { generation: zhost_base::Generation(0), ..pid(OTHER, 5) };
    assert!(claim(&mut grants, now, &facts, "eye", dead).is_ok());
    assert!(claim(&mut grants, now, &facts, "eye", pid(OTHER, 6)).is_ok());
    // A grant is remembered until everybody knows the row.
    let later = now + GRANT_TTL + GRANT_TTL;
    assert!(claim(&mut grants, later, &facts, "ear", pid(OTHER, 2)).is_ok());
}

#[test]
fn whoever_is_no_super_grants_nothing_and_a_super_so_many() {
    let (mut grants, now) = (Grants::default(), Instant::ZERO);
    let try_again = Err(Refusal::TryAgain as i8);
    assert_eq!(claim(&mut grants, now, &facts(&[OTHER]), "ear", pid(ME, 1)), try_again);
    let facts = facts(&[ME]);
    for number in 0..GRANTS_MAX {
        assert!(claim(&mut grants, now, &facts, &format!("n{number}"), pid(ME, 1)).is_ok());
    }
    assert_eq!(claim(&mut grants, now, &facts, "ear", pid(ME, 1)), try_again);
    assert!(claim(&mut grants, now + GRANT_TTL, &facts, "ear", pid(ME, 1)).is_ok());
}

#[test]
fn a_space_holds_so_many_names_and_a_zhost_no_more_than_its_rows_allow() {
    let facts = facts(&[OTHER]);
    let asks =
        |grants: &Grants, number: u32, text: &str| match grants.register(&facts, ID, (number, 1), name(text))
        {
            Registration::Ask(OTHER, ActorMessage::Claim(..)) => Ok(()),
            Registration::Answer(Err(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        };
    let grant = PlacementVersion {
        slot: zhost_gossip::document::Slot::Full,
        term: 1,
        counter: 1,
        coordinator: OTHER,
    };
    let mut grants = Grants::default();
    for number in 0..NAMES_PER_SPACE_MAX {
        assert_eq!(asks(&grants, 1, "ear"), Ok(()));
        grants.held.insert((ID, name(&format!("n{number}"))), (1, grant));
    }
    assert_eq!(asks(&grants, 1, "ear"), Err(Refusal::Full));
    for number in grants.held()..NAMES_MAX {
        assert_eq!(asks(&grants, 2, "ear"), Ok(()));
        grants.held.insert((ID, name(&format!("n{number}"))), (3 + number as u32, grant));
    }
    assert_eq!(asks(&grants, 2, "ear"), Err(Refusal::Full));
    // Those of a space that ended are free, and everybody hears of it.
    let mut effects = Effects::default();
    grants.handle_space_ended(&facts, ID, 1, &mut effects);
    assert_eq!(grants.held(), NAMES_MAX - NAMES_PER_SPACE_MAX);
    let effects: Vec<_> = effects.into_iter().collect();
    let rows = effects.iter().filter(|effect| matches!(effect, Effect::NoRow(_))).count();
    let releases = effects.iter().filter(|effect| matches!(effect, Effect::Actor(OTHER, ..))).count();
    assert_eq!((rows, releases), (NAMES_PER_SPACE_MAX, NAMES_PER_SPACE_MAX));
}

#[test]
fn of_two_who_hold_a_name_after_a_partition_the_later_grant_wins() {
    let mut rng = Rng::from_number(1);
    for _ in 0..100 {
        let mut facts = facts(&[ME]);
        let mut others = zhost_gossip::registry::Registry::new(OTHER, zhost_base::Generation(1));
        let mut grant = || PlacementVersion {
            slot: zhost_gossip::document::Slot::Full,
            term: 1 + rng.below(2),
            counter: 1 + rng.below(2),
            coordinator: if rng.chance(500) { ME } else { OTHER },
        };
        let (ours, theirs) = (grant(), grant());
        if ours == theirs {
            continue;
        }
        let key = RowKey::Name(ID, name("ear"));
        facts.registry.set(Instant::ZERO, key.clone(), Row::Name { number: 1, grant: ours }).unwrap();
        others.set(Instant::ZERO, key, Row::Name { number: 1, grant: theirs }).unwrap();
        let delta = others.own_delta(0).unwrap();
        facts.registry.handle_message(delta, Carrier::Link, |_| Some(zhost_base::Generation(1)));
        let winner = if ours > theirs { ME } else { OTHER };
        assert_eq!(facts.whereis(ID, &name("ear")), Some(pid(winner, 1)));
    }
}
