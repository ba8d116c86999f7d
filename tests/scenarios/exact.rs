//! Counts are exact: what was counted is what the load did, to the task.

use std::time::Duration;

use anyhow::Result;
use pidwatch_tests::cgroup::{Cgroup, Layout};
use pidwatch_tests::env::Env;
use pidwatch_tests::load::Load;
use pidwatch_tests::pidwatch::Invocation;
use pidwatch_tests::recording::Recording;
use pidwatch_tests::truth::{Ends, Kinds, Truth};

use crate::scenario::{Scenario, scenario};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(EVERYWHERE, two_processes_of_threads_add_up).minutes(5),
        scenario!(
            EVERYWHERE,
            two_processes_of_threads_add_up_with_btf_tracepoints
        )
        .minutes(5),
        // Programs on classic tracepoints ask for the running task (`bpf_get_current_task_btf`, 5.11).
        scenario!(
            EVERYWHERE,
            two_processes_of_threads_add_up_with_classic_tracepoints
        )
        .since((5, 11))
        .minutes(5),
        scenario!(EVERYWHERE, forks_add_up),
        scenario!(KERNELS, vforks_add_up),
        scenario!(
            EVERYWHERE,
            frees_add_up_though_tasks_from_before_the_start_are_freed_late
        )
        .slow(),
        scenario!(KERNELS, an_exec_from_a_thread_keeps_the_sum),
        scenario!(EVERYWHERE, a_moved_process_ends_where_it_is),
        scenario!(KERNELS, a_second_instance_counts_the_same),
        scenario!(EVERYWHERE, the_event_stream_of_all_cgroups_counts_each_once),
        // CLONE_INTO_CGROUP takes a directory of cgroup v2.
        scenario!(EVERYWHERE, a_process_born_in_another_cgroup_counts_there).with(Layout::V2),
        scenario!(
            EVERYWHERE,
            a_process_born_in_another_v2_cgroup_counts_at_its_pids
        )
        .with(Layout::Hybrid),
        // Before 5.12 io_uring's workers are kernel threads in the root cgroup.
        scenario!(KERNELS, workers_of_io_uring_add_up).since((5, 12)),
    ]
}

/// Runs a load in a cgroup and waits until all that ended has been freed.
fn watch(env: &Env, args: &[&str], load: Load, cgroup: &Cgroup) -> Result<(Truth, Recording)> {
    let mut pidwatch = Invocation::trace(env).args(args).start()?;
    let truth = load.inside(cgroup).run()?;
    // Frees come by RCU, some time after the load has gone.
    pidwatch.wait(|seen| freed(seen, cgroup, &truth.here))?;
    Ok((truth, pidwatch.stop()?))
}

/// Whether everything that ended in a cgroup has given its PID back.
fn freed(seen: &Recording, cgroup: &Cgroup, truth: &Ends) -> bool {
    seen.freed_or_lost(cgroup.id) >= truth.exited.sum()
}

fn assert_exact(recording: &Recording, id: u64, truth: &Ends) -> Result<()> {
    let counts = recording.counts_of(id)?;
    println!(
        "    created {:?}, exited {:?}, freed {}, lost {:?}",
        counts.created,
        counts.exited,
        counts.freed,
        recording.lost()
    );
    assert_eq!(counts.created, truth.created, "created");
    assert_eq!(counts.exited, truth.exited, "exited");
    recording.assert_freed(id, truth.exited.sum());
    assert_eq!(counts.failures(), 0, "failed");
    assert_eq!(counts.rejected, 0, "rejected");
    Ok(())
}

fn assert_load_is_exact(env: &Env, load: Load) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "exact")?;
    let (truth, recording) = watch(env, &[], load, &cgroup)?;
    recording.assert_nothing_missed(env);
    assert_exact(&recording, cgroup.id, &truth.here)
}

fn two_processes_of_threads(env: &Env) -> Load {
    Load::new(env, "threads")
        .with("processes", 2)
        .with("count", env.many())
}

fn expected(env: &Env) -> Ends {
    let threads = 2 * env.many();
    // The starting process was moved in, and ends there too.
    Ends {
        created: Kinds {
            processes: 2,
            threads,
        },
        exited: Kinds {
            processes: 3,
            threads,
        },
    }
}

fn two_processes_of_threads_add_up(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "exact")?;
    let (truth, recording) = watch(env, &[], two_processes_of_threads(env), &cgroup)?;
    assert_eq!(truth.here, expected(env), "the load itself");
    recording.assert_nothing_missed(env);
    assert_exact(&recording, cgroup.id, &truth.here)
}

fn two_processes_of_threads_add_up_with_btf_tracepoints(env: &Env) -> Result<()> {
    assert_counted_plus_lost_is_the_truth(env, "tp_btf")
}

fn two_processes_of_threads_add_up_with_classic_tracepoints(env: &Env) -> Result<()> {
    assert_counted_plus_lost_is_the_truth(env, "tracepoint")
}

/// With whichever mechanism: where the kernel skips a hook, pidwatch says how often.
fn assert_counted_plus_lost_is_the_truth(env: &Env, mechanism: &str) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "exact")?;
    let probes = format!("task_newtask={mechanism},sched_process_exit={mechanism}");
    let pidwatch = Invocation::trace(env).args(["--probes", &probes]).start()?;
    let truth = two_processes_of_threads(env).inside(&cgroup).run()?;
    let recording = pidwatch.stop()?;
    let counts = recording.counts_of(cgroup.id)?;
    println!(
        "    created {:?}, exited {:?}, lost {:?}",
        counts.created,
        counts.exited,
        recording.lost()
    );
    for (hook, counted, truth) in [
        (
            "task_newtask",
            counts.created.sum(),
            truth.here.created.sum(),
        ),
        (
            "sched_process_exit",
            counts.exited.sum(),
            truth.here.exited.sum(),
        ),
    ] {
        assert_eq!(mechanism_of(&recording, hook), Some(mechanism), "{hook}");
        assert_eq!(
            counted + recording.lost_at(hook),
            truth,
            "{hook}: counted + told as lost"
        );
    }
    Ok(())
}

fn mechanism_of<'a>(recording: &'a Recording, hook: &str) -> Option<&'a str> {
    let probes = recording.of_type("started").next()?.json["probes"].as_array()?;
    probes.iter().find(|probe| probe["name"] == hook)?["mechanism"].as_str()
}

fn forks_add_up(env: &Env) -> Result<()> {
    assert_load_is_exact(env, Load::new(env, "forks").with("count", 2_000))
}

/// RCU may free what ended before pidwatch came up to ten seconds later. Such a free belongs to no
/// counted end, and must not be taken for one that does.
fn frees_add_up_though_tasks_from_before_the_start_are_freed_late(env: &Env) -> Result<()> {
    /// Nothing tells when RCU is through; longer than it ever takes, and than pidwatch waits.
    const RCU_IS_THROUGH: Duration = Duration::from_secs(13);

    let cgroup = Cgroup::new(&env.hierarchy, "exact")?;
    Load::new(env, "forks").with("count", 100).run()?;
    let mut pidwatch = Invocation::trace(env).start()?;
    std::thread::sleep(RCU_IS_THROUGH);
    let truth = Load::new(env, "forks")
        .with("count", 100)
        .inside(&cgroup)
        .run()?;
    pidwatch.wait(|seen| freed(seen, &cgroup, &truth.here))?;
    assert_exact(&pidwatch.stop()?, cgroup.id, &truth.here)
}

fn vforks_add_up(env: &Env) -> Result<()> {
    assert_load_is_exact(env, Load::new(env, "vfork").with("count", 2_000))
}

fn workers_of_io_uring_add_up(env: &Env) -> Result<()> {
    assert_load_is_exact(
        env,
        Load::new(env, "io-uring")
            .with("workers", 4)
            .with("pollers", 2),
    )
}

/// The thread takes the leader's place, so kinds may change; the sum may not.
fn an_exec_from_a_thread_keeps_the_sum(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "exec")?;
    let load = Load::new(env, "exec-from-thread").with("count", 200);
    let (truth, recording) = watch(env, &[], load, &cgroup)?;
    let counts = recording.counts_of(cgroup.id)?;
    println!(
        "    created {:?}, exited {:?}, freed {}",
        counts.created, counts.exited, counts.freed
    );
    recording.assert_nothing_missed(env);
    assert_eq!(counts.created.sum(), truth.here.created.sum(), "created");
    assert_eq!(counts.exited.sum(), truth.here.exited.sum(), "exited");
    recording.assert_freed(cgroup.id, truth.here.exited.sum());
    let zombies = recording
        .rates(cgroup.id)
        .next_back()
        .and_then(|rate| rate.number("/zombies"));
    assert_eq!(zombies, Some(0), "zombies");
    Ok(())
}

fn a_moved_process_ends_where_it_is(env: &Env) -> Result<()> {
    let from = Cgroup::new(&env.hierarchy, "from")?;
    let to = Cgroup::new(&env.hierarchy, "to")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let load = Load::new(env, "move").with("count", 500);
    let truth = load
        .at("from", &from.directory)
        .at("to", &to.directory)
        .run()?;
    let [there, here] = [&from, &to].map(|cgroup| elsewhere(&truth, cgroup));
    pidwatch.wait(|seen| freed(seen, &from, &there) && freed(seen, &to, &here))?;
    let recording = pidwatch.stop()?;
    recording.assert_nothing_missed(env);
    assert_exact(&recording, from.id, &there)?;
    assert_exact(&recording, to.id, &here)
}

fn elsewhere(truth: &Truth, cgroup: &Cgroup) -> Ends {
    truth
        .elsewhere
        .get(&cgroup.directory.display().to_string())
        .copied()
        .unwrap_or_default()
}

fn a_process_born_in_another_cgroup_counts_there(env: &Env) -> Result<()> {
    let parents = Cgroup::new(&env.hierarchy, "parents")?;
    let target = Cgroup::new(&env.hierarchy, "target")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let load = Load::new(env, "clone-into").with("count", 2_000);
    let truth = load
        .at("target", &target.directory)
        .inside(&parents)
        .run()?;
    let there = elsewhere(&truth, &target);
    assert_eq!(there.created.processes, 2_000);
    pidwatch.wait(|seen| freed(seen, &target, &there) && freed(seen, &parents, &truth.here))?;
    let recording = pidwatch.stop()?;
    recording.assert_nothing_missed(env);
    assert_exact(&recording, target.id, &there)?;
    assert_exact(&recording, parents.id, &truth.here)
}

/// In a hybrid layout the child is born in another v2 cgroup but in its parent's pids cgroup, and
/// that is where it is charged.
fn a_process_born_in_another_v2_cgroup_counts_at_its_pids(env: &Env) -> Result<()> {
    let parents = Cgroup::new(&env.hierarchy, "parents")?;
    let target = Cgroup::in_v2(&env.hierarchy, "target")?;
    let mut pidwatch = Invocation::trace(env).start()?;
    let load = Load::new(env, "clone-into").with("count", 2_000);
    let mut truth = load
        .at("target", &target.directory)
        .inside(&parents)
        .run()?;
    let there = elsewhere(&truth, &target);
    truth.here.created += there.created;
    truth.here.exited += there.exited;
    pidwatch.wait(|seen| freed(seen, &parents, &truth.here))?;
    let recording = pidwatch.stop()?;
    recording.assert_nothing_missed(env);
    assert_exact(&recording, parents.id, &truth.here)
}

fn a_second_instance_counts_the_same(env: &Env) -> Result<()> {
    let cgroup = Cgroup::new(&env.hierarchy, "twice")?;
    let mut first = Invocation::trace(env).start()?;
    let mut second = Invocation::trace(env).start()?;
    let load = Load::new(env, "threads")
        .with("processes", 2)
        .with("count", env.many() / 5);
    let truth = load.inside(&cgroup).run()?;
    for pidwatch in [&mut first, &mut second] {
        pidwatch.wait(|seen| freed(seen, &cgroup, &truth.here))?;
    }
    for pidwatch in [first, second] {
        let recording = pidwatch.stop()?;
        recording.assert_nothing_missed(env);
        assert_exact(&recording, cgroup.id, &truth.here)?;
    }
    Ok(())
}

/// Loads in several cgroups at once, with `--all`: none is counted in another's place.
fn the_event_stream_of_all_cgroups_counts_each_once(env: &Env) -> Result<()> {
    let mut pidwatch = Invocation::trace(env).args(["--all"]).start()?;
    let cgroups = (0..8)
        .map(|_| Cgroup::new(&env.hierarchy, "many"))
        .collect::<Result<Vec<_>>>()?;
    let loads = cgroups
        .iter()
        .zip(1..)
        .map(|(cgroup, number)| {
            Load::new(env, "threads")
                .with("count", env.many() / 200 * number)
                .inside(cgroup)
                .start()
        })
        .collect::<Result<Vec<_>>>()?;
    let truths = loads
        .into_iter()
        .map(pidwatch_tests::load::Running::finish)
        .collect::<Result<Vec<_>>>()?;
    pidwatch.wait(|seen| {
        cgroups
            .iter()
            .zip(&truths)
            .all(|(cgroup, truth)| freed(seen, cgroup, &truth.here))
    })?;
    let recording = pidwatch.stop()?;
    recording.assert_nothing_missed(env);
    for (cgroup, truth) in cgroups.iter().zip(&truths) {
        assert_exact(&recording, cgroup.id, &truth.here)?;
    }
    Ok(())
}
