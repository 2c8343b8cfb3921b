use super::*;
use std::sync::{
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

const PATIENCE: Duration = Duration::from_secs(5);

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

/// Looks until the run under way has ended: its thread has to take its turn.
fn ended(thread: &Thread, now: Instant) -> Standing {
    loop {
        match thread.look(now) {
            Standing::Busy => thread::yield_now(),
            standing => return standing,
        }
    }
}

fn concern(name: &str) -> Concern {
    concerns().into_iter().find(|concern| concern.name == name).expect("it is told of")
}

#[test]
fn a_panic_is_an_error_and_the_next_run_waits_longer_each_time() {
    let thread = Thread::new("planted", Care::replaceable(PATIENCE));
    let mut now = Instant::ZERO;
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(thread.look(now), Standing::Idle);
        thread.start(|_| panic!("planted")).unwrap();
        assert_eq!(ended(&thread, now), Standing::Failed("it panicked: planted".into()));
        now += Duration::from_secs(wait) - Duration::from_millis(1);
        assert!(matches!(thread.look(now), Standing::Failed(_)));
        now += Duration::from_millis(1);
    }
    assert_eq!((concern("planted").failures, concern("planted").is_well), (8, false));
    thread.start(|_| Ok(())).unwrap();
    assert_eq!(ended(&thread, now), Standing::Idle);
}

#[test]
fn a_run_that_hangs_is_given_up_another_takes_its_place_and_the_first_is_told_so() {
    let thread = Thread::new("hung", Care::replaceable(PATIENCE));
    let (release, gate) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    thread
        .start(move |run| {
            let _ = gate.recv();
            tell.send(run.goes_on()).unwrap();
            Ok(())
        })
        .unwrap();
    assert_eq!(thread.look(at(0)), Standing::Busy);
    assert_eq!(thread.look(at(4)), Standing::Busy);
    assert_eq!(thread.look(at(5)), Standing::Failed("it has not moved for 5 s".into()));
    assert_eq!(thread.look(at(6)), Standing::Idle);
    thread.start(|_| Ok(())).unwrap();
    assert_eq!(ended(&thread, at(6)), Standing::Idle);
    drop(release);
    assert_eq!(told.recv(), Ok(false), "the run that was given up is to end");
}

#[test]
fn so_many_runs_may_hang_and_no_more_until_one_comes_back() {
    let thread = Thread::new("stuck", Care::replaceable(PATIENCE));
    let mut gates = Vec::new();
    let mut now = Instant::ZERO;
    for _ in 0..STUCK_MAX {
        let (release, gate) = mpsc::channel::<()>();
        gates.push(release);
        thread.start(move |_| gate.recv().map_err(|e| e.to_string())).unwrap();
        assert_eq!(thread.look(now), Standing::Busy);
        now += PATIENCE;
        assert!(matches!(thread.look(now), Standing::Failed(_)));
        now += BACKOFF_MAX;
        assert_eq!(thread.look(now), Standing::Idle);
    }
    assert!(thread.start(|_| Ok(())).unwrap_err().to_string().contains("hang already"));
    gates.pop();
    while thread.start(|_| Ok(())).is_err() {
        thread::yield_now();
    }
}

#[test]
fn whoever_waits_for_work_does_not_hang() {
    let thread = Thread::new("idle", Care::replaceable(PATIENCE));
    let (release, gate) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    thread
        .start(move |run| {
            run.rests();
            tell.send(()).unwrap();
            let _ = gate.recv();
            run.goes_on();
            tell.send(()).unwrap();
            let _ = gate.recv();
            Ok(())
        })
        .unwrap();
    told.recv().unwrap();
    for seconds in 0..100 {
        assert_eq!(thread.look(at(seconds)), Standing::Busy);
    }
    release.send(()).unwrap();
    told.recv().unwrap();
    assert_eq!(thread.look(at(100)), Standing::Busy);
    assert!(matches!(thread.look(at(105)), Standing::Failed(_)), "it is at work now, and hangs");
}

#[test]
fn one_that_cannot_be_replaced_is_shown_and_waited_for() {
    let thread = Thread::new("alone", Care::irreplaceable(PATIENCE));
    let (release, gate) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    thread
        .start(move |run| {
            let _ = gate.recv();
            assert!(run.goes_on(), "nobody has taken its place");
            tell.send(()).unwrap();
            let _ = gate.recv();
            Ok(())
        })
        .unwrap();
    for seconds in [0, 5, 10] {
        assert_eq!(thread.look(at(seconds)), Standing::Busy);
    }
    assert_eq!((concern("alone").failures, concern("alone").is_well), (1, false));
    release.send(()).unwrap();
    told.recv().unwrap();
    assert_eq!(thread.look(at(11)), Standing::Busy);
    assert!(concern("alone").is_well);
}

#[test]
fn a_thread_that_is_kept_runs_again_after_a_panic_and_is_forgotten_when_it_has_ended_well() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    keep("kept", Care::replaceable(PATIENCE), |_| match RUNS.fetch_add(1, Ordering::SeqCst) {
        0 => panic!("planted"),
        1 => Err("nothing there".into()),
        _ => Ok(()),
    })
    .unwrap();
    for (failures, seconds) in [(1, 0), (2, 1)] {
        while concern("kept").failures < failures {
            look_after(at(seconds));
            thread::yield_now();
        }
    }
    while !lock(&KEPT).is_empty() {
        look_after(at(3));
        thread::yield_now();
    }
    assert_eq!(RUNS.load(Ordering::SeqCst), 3);
    assert_eq!((concern("kept").failures, concern("kept").last_error), (2, "nothing there".into()));
}

#[test]
fn whoever_waits_for_an_errand_is_told_that_it_is_lost() {
    let (tell, told) = mpsc::channel::<String>();
    let mut refusals = 2;
    let lost = move |error: &str| {
        refusals -= 1;
        refusals == 0 && tell.send(error.into()).is_ok()
    };
    once("errand", PATIENCE, |_| panic!("planted"), lost).unwrap();
    while !lock(&ERRANDS).is_empty() {
        look_after(Instant::ZERO);
        thread::yield_now();
    }
    assert_eq!(
        told.try_iter().collect::<Vec<_>>(),
        ["it panicked: planted"],
        "told once it listened, and once"
    );
}

#[test]
fn errands_that_hang_are_told_of_and_only_so_many_of_one_name_are_begun() {
    let (tell, told) = mpsc::channel::<String>();
    let mut gates = Vec::new();
    let mut begin = || {
        let (release, gate) = mpsc::channel::<()>();
        gates.push(release);
        let tell = tell.clone();
        let lost = move |error: &str| tell.send(error.into()).is_ok();
        once("slow errand", PATIENCE, move |_| gate.recv().unwrap_or_default(), lost)
    };
    (0..STUCK_MAX).for_each(|_| begin().unwrap());
    look_after(at(0));
    look_after(at(5));
    assert_eq!(told.try_iter().count(), STUCK_MAX);
    assert!(begin().is_err());
    look_after(at(6));
    assert_eq!(told.try_iter().count(), 0, "each is told of once");
    gates.clear();
    while !lock(&ERRANDS).is_empty() {
        look_after(at(7));
        thread::yield_now();
    }
}

#[test]
fn a_process_that_was_stopped_accuses_none_of_its_threads() {
    let (_release, gate) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel::<String>();
    let lost = move |error: &str| tell.send(error.into()).is_ok();
    once("stopped", PATIENCE, move |_| gate.recv().unwrap_or_default(), lost).unwrap();
    look_after(at(0));
    look_after(at(1000));
    assert_eq!(told.try_iter().count(), 0);
    look_after(at(1005));
    assert_eq!(told.try_iter().count(), 1);
}
