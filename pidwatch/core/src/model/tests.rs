use super::*;
use crate::probe::Charge;

const ID: CgroupId = CgroupId(7);

fn at(seconds: u64) -> BootTime {
    BootTime::from_nanos(seconds * 1_000_000_000)
}

fn totals(created: u64, exited: u64, freed: u64) -> Totals {
    let mut totals = Totals::ZERO;
    totals.created.processes = created;
    totals.exited.processes = exited;
    totals.freed.processes = freed;
    totals
}

fn tell(model: &mut Model, totals: Totals) {
    tell_at(model, totals, at(0));
}

fn tell_at(model: &mut Model, totals: Totals, time: BootTime) {
    model.apply(&Event::Totals {
        cgroup: ID,
        time,
        totals,
        charge: Charge::Unknown,
        cause: Cause::Counted,
        who: None,
    });
}

#[test]
fn windows_add_up_to_the_totals_whatever_the_order_of_records() {
    let mut model = Model::default();
    let mut sum = 0;
    for (a, b) in [(5, 3), (9, 7), (9, 9)] {
        tell(&mut model, totals(a, 0, 0));
        tell(&mut model, totals(b, 0, 0));
        for (_, activity) in model.close_window(at(1)) {
            sum += activity.window.created.processes;
            assert_eq!(activity.total.created.processes, sum);
        }
    }
    assert_eq!(sum, 9);
}

#[test]
fn a_window_in_which_nothing_happened_says_nothing() {
    let mut model = Model::default();
    tell(&mut model, totals(1, 0, 0));
    assert_eq!(model.close_window(at(1)).len(), 1);
    tell(&mut model, totals(1, 0, 0));
    assert_eq!(model.close_window(at(2)), []);
}

#[test]
fn what_has_just_ended_is_no_zombie_until_it_lasts() {
    let mut model = Model::default();
    tell(&mut model, totals(3, 3, 1));
    let zombies = |model: &mut Model, second| -> Vec<u64> {
        model
            .close_window(at(second))
            .iter()
            .map(|(_, activity)| activity.zombies)
            .collect()
    };
    assert_eq!(zombies(&mut model, 1), [0]);
    assert!(zombies(&mut model, 12).is_empty());
    assert_eq!(
        zombies(&mut model, 13),
        [2],
        "told though nothing else happened"
    );
    assert!(zombies(&mut model, 14).is_empty(), "told once");
    tell(&mut model, totals(3, 3, 3));
    assert_eq!(zombies(&mut model, 15), [0]);
    assert!(zombies(&mut model, 99).is_empty());
}

#[test]
fn a_storm_that_is_freed_late_has_no_zombies() {
    let mut model = Model::default();
    for second in 1..20 {
        tell(
            &mut model,
            totals(1000 * second, 1000 * second, 1000 * second - 60),
        );
        for (_, activity) in model.close_window(at(second)) {
            assert_eq!(activity.zombies, 0, "after {second} s");
        }
    }
}

#[test]
fn a_free_that_no_hook_saw_is_found_by_the_charge() {
    let mut model = Model::default();
    tell(&mut model, totals(40, 40, 38));
    assert_eq!(
        model.settle_frees(at(1), |_| Some(1)),
        0,
        "one is still charged"
    );
    assert_eq!(
        model.settle_frees(at(12), |_| Some(0)),
        0,
        "RCU may be late"
    );
    assert_eq!(model.settle_frees(at(13), |_| Some(0)), 1);
    assert_eq!(model.settle_frees(at(24), |_| Some(0)), 0);
    tell(&mut model, totals(40, 40, 39));
    assert_eq!(
        model.settle_frees(at(25), |_| Some(0)),
        0,
        "it came after all"
    );
    model.close_window(at(26));
    model.close_window(at(39));
    assert_eq!(model.close_window(at(40)), [], "no zombies");
}

#[test]
fn late_frees_of_a_steady_stream_are_not_taken_for_unseen() {
    let mut model = Model::default();
    for second in 1..60 {
        tell(
            &mut model,
            totals(100 * second, 100 * second, 100 * second - 90),
        );
        assert_eq!(model.settle_frees(at(second), |_| Some(0)), 0);
    }
}

#[test]
fn threads_are_freed_as_they_end_unless_they_are_traced() {
    let mut model = Model::default();
    let mut counted = Totals::ZERO;
    counted.exited.threads = 10;
    counted.held_threads = 2;
    counted.freed.threads = 1;
    tell(&mut model, counted);
    assert_eq!(model.close_window(at(1))[0].1.total.freed, 9);
    assert_eq!(model.close_window(at(13))[0].1.zombies, 1);
}

#[test]
fn suppressed_failures_are_told_once() {
    let mut model = Model::default();
    let mut counted = Totals::ZERO;
    counted.failed = 8;
    counted.suppressed = 5;
    tell(&mut model, counted);
    let failure = Failure {
        cgroup: ID,
        time: at(0),
        totals: counted,
        errno: 11,
        syscall: None,
        pid: 1,
        tid: 1,
        uid: 0,
        comm: Vec::new(),
        parent: None,
        origin: None,
        evidence: Box::default(),
    };
    assert_eq!(model.take_suppressed(&failure), 5);
    assert_eq!(model.take_suppressed(&failure), 0);
    assert_eq!(model.take_unrecorded(ID), 5);
    assert_eq!(model.take_unrecorded(ID), 0);
    for _ in 0..3 {
        model.failed(ID, Reason::PidMax);
    }
    let counts = model.close_window(at(1))[0].1.window;
    assert_eq!(counts.failed[Reason::PidMax as usize], 3);
    assert_eq!(counts.failed[Reason::Unknown as usize], 5);
    assert_eq!(counts.failures(), 8);
}

#[test]
fn one_that_was_never_announced_is_forgotten_once_it_is_quiet() {
    let mut model = Model::default();
    model.lost(ID, at(10));
    assert!(model.is_gone(ID));
    assert_eq!(model.gone_path(ID), None);
    tell_at(&mut model, totals(2, 2, 2), at(20));
    model.close_window(at(20));
    assert_eq!(model.forget_gone(at(49)), [], "it did something at 20 s");
    assert_eq!(model.forget_gone(at(50)), [ID]);
    assert!(!model.is_gone(ID));
    // What a walk finds later is not gone, and keeps its counts.
    tell_at(&mut model, totals(3, 3, 3), at(60));
    model.lost(ID, at(60));
    model.find(|id| id == ID);
    assert!(!model.is_gone(ID));
    model.close_window(at(60));
    assert_eq!(model.total(ID).0.created.processes, 3);
    model.lost(ID, at(61));
    model.added(ID);
    assert_eq!(
        model.total(ID).0.created.processes,
        3,
        "nor is it another one"
    );
}

#[test]
fn a_gone_cgroup_is_kept_while_records_may_come_and_zombies_last() {
    let mut model = Model::default();
    tell(&mut model, totals(1, 1, 0));
    model.removed(ID, (*b"/gone").into(), at(10));
    model.close_window(at(31));
    assert_eq!(model.forget_gone(at(12)), []);
    assert_eq!(model.forget_gone(at(30)), [], "a zombie is still there");
    tell(&mut model, totals(1, 1, 1));
    model.close_window(at(31));
    assert_eq!(model.gone_path(ID), Some(&b"/gone"[..]));
    assert_eq!(model.forget_gone(at(31)), [ID]);
    assert_eq!(model.gone_path(ID), None);
}

#[test]
fn an_id_used_again_is_another_cgroup_and_is_not_forgotten_with_the_old_one() {
    let mut model = Model::default();
    model.added(ID);
    tell(&mut model, totals(7, 7, 7));
    model.close_window(at(1));
    model.removed(ID, (*b"/old").into(), at(2));
    model.added(ID);
    assert_eq!(model.gone_path(ID), None);
    tell(&mut model, totals(7, 7, 7));
    assert_eq!(
        model.close_window(at(3)),
        [],
        "what was told was the old one's"
    );
    tell(&mut model, totals(9, 8, 7));
    let (_, activity) = model.close_window(at(4))[0];
    assert_eq!(activity.total.created.processes, 2);
    assert_eq!(activity.window.exited.processes, 1);
    assert_eq!(model.forget_gone(at(3600)), []);
}
