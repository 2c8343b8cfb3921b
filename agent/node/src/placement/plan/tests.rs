//! Placement: capability, region, kind, room, and homes that stay.

use super::*;
use litemap::LiteMap;
use zhost_base::{Name, SpaceKind};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn profile(region: &str, kind: &str, capabilities: &[&str], memory_bytes: u32) -> Profile {
    Profile {
        name: name("z"),
        region: name(region),
        kind: name(kind),
        control_addr: None,
        web_addr: None,
        eligible: true,
        runs_spaces: true,
        blank: false,
        rival_addr: None,
        memory_bytes,
        started_unix_ms: 0,
        agent: name("1"),
        capabilities: capabilities.iter().map(|text| name(text)).collect(),
    }
}

fn space(capabilities: &[&str], region: Option<&str>, kind: Option<&str>) -> SpaceSpec {
    SpaceSpec {
        capabilities: capabilities.iter().map(|text| name(text)).collect(),
        memory_bytes: 100,
        region: region.map(name),
        zhost_kind: kind.map(name),
        ..SpaceSpec::new(name("s"), SpaceKind::Io)
    }
}

pub fn sites(profiles: &[Profile]) -> Sites<'_> {
    let site = |profile| Site {
        profile,
        load: LoadBand::default(),
        is_slow: false,
        is_fresh: false,
        spaces: 0,
        memory_bytes: 0,
    };
    profiles.iter().enumerate().map(|(index, profile)| (ZhostId(index as u64), site(profile))).collect()
}

const ID: TopologyId = TopologyId([3; 16]);

fn homes(profiles: &[Profile], spaces: &[SpaceSpec], before: &[Home]) -> Vec<Home> {
    place(ID, spaces, before, &LiteMap::new(), &mut sites(profiles))
}

#[test]
fn a_space_goes_where_its_capability_is_and_the_rest_is_spread() {
    let profiles = [
        profile("a", "x", &[], 1000),
        profile("a", "x", &["sensors.camera"], 1000),
        profile("a", "x", &[], 1000),
    ];
    let spaces = [space(&[], None, None), space(&["sensors.camera"], None, None), space(&[], None, None)];
    let mut placed = homes(&profiles, &spaces, &[]);
    assert_eq!(placed[1], Home::On(ZhostId(1)));
    placed.sort_by_key(|home| format!("{home:?}"));
    assert_eq!(placed, [Home::On(ZhostId(0)), Home::On(ZhostId(1)), Home::On(ZhostId(2))]);
}

#[test]
fn homes_that_still_suit_stay() {
    let profiles = [profile("a", "x", &[], 1000), profile("a", "x", &[], 1000)];
    let spaces = [space(&[], None, None), space(&[], None, None)];
    let before = [Home::On(ZhostId(1)), Home::On(ZhostId(1))];
    assert_eq!(homes(&profiles, &spaces, &before), before);
    let gone = [Home::On(ZhostId(7)), Home::On(ZhostId(1))];
    assert_eq!(homes(&profiles, &spaces, &gone), [Home::On(ZhostId(0)), Home::On(ZhostId(1))]);
}

#[test]
fn the_reason_names_what_is_missing() {
    let profiles = [profile("a", "x", &["sensors.camera"], 150)];
    let why = |space: SpaceSpec| match &homes(&profiles, &[space], &[])[0] {
        Home::Nowhere(reason) => reason.to_string(),
        other => panic!("placed: {other:?}"),
    };
    assert_eq!(
        why(space(&["sensors.sonar"], None, None)),
        "no zhost satisfies capability requirement 'sensors.sonar'"
    );
    assert_eq!(why(space(&[], Some("b"), None)), "no zhost with the required capabilities in region 'b'");
    assert_eq!(why(space(&[], None, Some("y"))), "no zhost with the required capabilities is of kind 'y'");
    let big = SpaceSpec { memory_bytes: 151, ..space(&[], None, None) };
    assert_eq!(why(big), "insufficient capacity on remaining zhosts");
}

#[test]
fn room_is_not_given_away_twice() {
    let profiles = [profile("a", "x", &[], 250)];
    let spaces = [space(&[], None, None), space(&[], None, None), space(&[], None, None)];
    let placed = homes(&profiles, &spaces, &[]);
    assert_eq!(placed.iter().filter(|home| matches!(home, Home::On(_))).count(), 2);
}

#[test]
fn everybody_computes_the_same() {
    let profiles: Vec<Profile> = (0..9).map(|_| profile("a", "x", &[], 1000)).collect();
    let spaces: Vec<SpaceSpec> = (0..9).map(|_| space(&[], None, None)).collect();
    assert_eq!(homes(&profiles, &spaces, &[]), homes(&profiles, &spaces, &[]));
}

#[test]
fn slow_and_freshly_returned_zhosts_are_the_last_choice() {
    let profiles = [profile("a", "x", &[], 1000), profile("a", "x", &[], 1000), profile("a", "x", &[], 1000)];
    let spaces = [space(&[], None, None), space(&[], None, None)];
    let mut sites = sites(&profiles);
    sites.get_mut(&ZhostId(0)).unwrap().is_slow = true;
    sites.get_mut(&ZhostId(1)).unwrap().is_fresh = true;
    let placed = place(ID, &spaces, &[], &LiteMap::new(), &mut sites);
    assert_eq!(placed, [Home::On(ZhostId(2)), Home::On(ZhostId(2))]);
    // With nobody else they do.
    sites.remove(&ZhostId(2));
    assert!(matches!(place(ID, &spaces[..1], &[], &LiteMap::new(), &mut sites)[0], Home::On(_)));
}

#[test]
fn a_zhost_that_lost_its_flash_is_no_place_for_replicated_data() {
    let blank = Profile { blank: true, ..profile("a", "b", &["data.read", "data.write"], 64 << 20) };
    let site = Site {
        profile: &blank,
        load: LoadBand::default(),
        is_slow: false,
        is_fresh: false,
        spaces: 0,
        memory_bytes: 0,
    };
    let plain = SpaceSpec::new(name("s"), zhost_base::SpaceKind::Data);
    assert!(site.suits(&plain));
    assert!(!site.suits(&SpaceSpec { replicas: 1, ..plain }));
}
