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
    model.apply(&KernelEvent::Totals {
        cgroup: ID,
        time,
        totals,
        charge: Charge::Unknown,
        cause: TotalsCause::Counted,
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
        for (_, activity) in model.close_window() {
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
    assert_eq!(model.close_window().len(), 1);
    tell(&mut model, totals(1, 0, 0));
    assert_eq!(model.close_window(), []);
}

#[test]
fn zombies_are_unknown_until_they_are_counted_and_told_when_they_change() {
    let told = |model: &mut Model| -> Vec<Option<u64>> {
        let rows = model.close_window();
        rows.iter().map(|(_, activity)| activity.zombies).collect()
    };
    let mut model = Model::default();
    tell(&mut model, totals(3, 3, 1));
    assert_eq!(told(&mut model), [None], "never 0 before the first count");
    model.set_zombies(Some([(ID, 2)].into()));
    assert_eq!(told(&mut model), [Some(2)], "though nothing else happened");
    model.set_zombies(Some([(ID, 2)].into()));
    assert!(told(&mut model).is_empty(), "told once");
    model.set_zombies(Some(HashMap::new()));
    assert_eq!(told(&mut model), [Some(0)]);
    assert!(told(&mut model).is_empty());
    // Of a cgroup in which nothing was ever counted: those of removed ones below it.
    const ABOVE: CgroupId = CgroupId(6);
    model.set_zombies(Some([(ABOVE, 30)].into()));
    assert_eq!(told(&mut model), [Some(30)]);
    model.set_zombies(Some([(ABOVE, 30)].into()));
    assert!(told(&mut model).is_empty());
}

#[test]
fn zombies_are_unknown_where_an_end_could_not_be_noted() {
    let mut model = Model::default();
    let mut counted = totals(9, 9, 5);
    counted.unnoted = 1;
    tell(&mut model, counted);
    model.set_zombies(Some([(ID, 3)].into()));
    assert_eq!(model.zombies(ID), None);
    assert_eq!(model.zombies(CgroupId(8)), Some(0));
}

#[test]
fn threads_are_freed_as_they_end_unless_they_are_traced() {
    let mut model = Model::default();
    let mut counted = Totals::ZERO;
    counted.exited.threads = 10;
    counted.held_threads = 2;
    counted.freed.threads = 1;
    tell(&mut model, counted);
    assert_eq!(model.close_window()[0].1.total.freed, 9);
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
    let counts = model.close_window()[0].1.window;
    assert_eq!(counts.failed[Reason::PidMax as usize], 3);
    assert_eq!(counts.failed[Reason::Unknown as usize], 5);
    assert_eq!(counts.failures(), 8);
}

#[test]
fn failures_without_a_record_have_the_reason_of_a_short_look() {
    use pidwatch_common::totals::Suppressed;
    let mut model = Model::default();
    model.failed(ID, Reason::PidsMax);
    model.failed(ID, Reason::PidNamespaceMax);
    let mut counted = Totals::ZERO;
    counted.failed = 402;
    counted.suppressed = 400;
    counted.suppressed_by[Suppressed::PidsMax as usize] = 371;
    counted.suppressed_by[Suppressed::Ids as usize] = 20;
    // No record has told what there is no room for.
    counted.suppressed_by[Suppressed::NoSpace as usize] = 4;
    tell(&mut model, counted);
    let failed = model.close_window()[0].1.total.failed;
    assert_eq!(failed[Reason::PidsMax as usize], 1 + 371);
    assert_eq!(failed[Reason::PidNamespaceMax as usize], 1 + 20);
    assert_eq!(failed[Reason::Unknown as usize], 9);
    assert_eq!(failed.iter().sum::<u64>(), 402);
}

#[test]
fn one_that_was_never_announced_is_forgotten_once_it_is_quiet() {
    let mut model = Model::default();
    model.lost(ID, at(10));
    assert!(model.is_gone(ID));
    assert_eq!(model.gone_path(ID), None);
    tell_at(&mut model, totals(2, 2, 2), at(20));
    model.close_window();
    assert_eq!(model.forget_gone(at(49)), [], "it did something at 20 s");
    assert_eq!(model.forget_gone(at(50)), [ID]);
    assert!(!model.is_gone(ID));
    // What a walk finds later is not gone, and keeps its counts.
    tell_at(&mut model, totals(3, 3, 3), at(60));
    model.lost(ID, at(60));
    model.find(|id| id == ID);
    assert!(!model.is_gone(ID));
    model.close_window();
    assert_eq!(model.total(ID).created.processes, 3);
    model.lost(ID, at(61));
    model.added(ID);
    assert_eq!(
        model.total(ID).created.processes,
        3,
        "nor is it another one"
    );
}

#[test]
fn a_gone_cgroup_is_kept_while_records_may_come_and_zombies_last() {
    let mut model = Model::default();
    tell(&mut model, totals(1, 1, 0));
    model.removed(ID, (*b"/gone").into(), at(10));
    model.close_window();
    assert_eq!(model.forget_gone(at(12)), []);
    assert_eq!(model.forget_gone(at(30)), [], "a zombie is still there");
    // Its free is lost, which settles it as well.
    let mut settled = totals(1, 1, 0);
    settled.unseen_frees = 1;
    tell(&mut model, settled);
    model.close_window();
    assert_eq!(model.gone_path(ID), Some(&b"/gone"[..]));
    assert_eq!(model.forget_gone(at(31)), [ID]);
    assert_eq!(model.gone_path(ID), None);
}

#[test]
fn an_id_used_again_is_another_cgroup_and_is_not_forgotten_with_the_old_one() {
    let mut model = Model::default();
    model.added(ID);
    tell(&mut model, totals(7, 7, 7));
    model.close_window();
    model.removed(ID, (*b"/old").into(), at(2));
    model.added(ID);
    assert_eq!(model.gone_path(ID), None);
    tell(&mut model, totals(7, 7, 7));
    assert_eq!(model.close_window(), [], "what was told was the old one's");
    tell(&mut model, totals(9, 8, 7));
    let (_, activity) = model.close_window()[0];
    assert_eq!(activity.total.created.processes, 2);
    assert_eq!(activity.window.exited.processes, 1);
    assert_eq!(model.forget_gone(at(3600)), []);
}

#[test]
fn where_old_zombies_may_be_missing_there_is_no_number() {
    let other = CgroupId(ID.0 + 1);
    let mut model = Model::default();
    model.may_have_other_zombies([ID].into_iter());
    model.set_zombies(Some([(ID, 3), (other, 2)].into_iter().collect()));
    assert_eq!(model.zombies(ID), None);
    assert_eq!(model.zombies(other), Some(2), "it came later");
    for id in model.close_window() {
        assert_ne!(id.1.zombies, Some(3));
    }
}
