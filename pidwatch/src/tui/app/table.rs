//! Rows of the owners' table: flat, as the tree of cgroups, or by namespace or pod; filtered and sorted.
//!
//! In: what is known of the owners. Out: [`TableRow`]s, in the order in which they are shown. Pure.

use std::cmp::{Ordering, Reverse};

use hashbrown::{HashMap, HashSet, hash_map::Entry};

use super::{
    column::Column,
    gauge::Gauge,
    owner::{Badge, OwnerEntry},
    row::TableRow,
    world::NodeStore,
};
use crate::identity::OwnerKey;

/// Longer paths than the kernel takes (`PATH_MAX`) are not taken apart: a stream may claim any.
const LONGEST_PATH: usize = 4096;

/// How rows are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Each owner for itself.
    #[default]
    Flat,
    /// As cgroups are in cgroups.
    Tree,
    /// By Kubernetes namespace.
    Namespace,
    /// By pod.
    Pod,
}

impl Mode {
    /// All.
    pub const ALL: [Self; 4] = [Self::Flat, Self::Tree, Self::Namespace, Self::Pod];

    /// As it is called on screen and in the state file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Tree => "tree",
            Self::Namespace => "by namespace",
            Self::Pod => "by pod",
        }
    }
}

/// How the table is shown.
#[derive(Clone, Debug)]
pub struct Order {
    /// How rows are put together.
    pub mode: Mode,
    /// By which column.
    pub sort: Column,
    /// The other way round.
    pub reverse: bool,
    /// Only names with this in them, lower case.
    pub filter: String,
    /// What is folded.
    pub folded: HashSet<String>,
    /// Also those without tasks and with nothing to say.
    pub shows_idle: bool,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            mode: Mode::Flat,
            sort: Column::State,
            reverse: false,
            filter: String::new(),
            folded: HashSet::new(),
            shows_idle: false,
        }
    }
}

impl Order {
    /// The rows of the owners that are wanted.
    pub fn rows(&self, world: &NodeStore, wanted: impl Fn(&OwnerEntry) -> bool) -> Vec<TableRow> {
        let gauges = world.gauges();
        let is_wanted = |known: &&OwnerEntry| {
            (self.filter.is_empty() || known.lower.contains(&self.filter)) && wanted(known)
        };
        let owners: Vec<&OwnerEntry> = world.owners.values().filter(is_wanted).collect();
        match self.mode {
            Mode::Flat => {
                // A cgroup that only holds others has no tasks of its own and nothing to say.
                let says = |known: &&&OwnerEntry| {
                    self.shows_idle
                        || known.tasks.is_some_and(|tasks| tasks > 0)
                        || !matches!(known.badge, Badge::Ok | Badge::Gone)
                        || (known.gone.is_some() && (known.failures > 0 || known.ate.is_some()))
                        || known.created > 0.0
                };
                let owners: Vec<&OwnerEntry> =
                    owners.into_iter().filter(|known| says(&known)).collect();
                let mut rows: Vec<TableRow> = rows_of(&owners, &gauges)
                    .into_iter()
                    .map(|(_, row)| row)
                    .collect();
                self.sort(&mut rows);
                rows
            }
            Mode::Tree => self.tree(&owners, &gauges),
            Mode::Namespace | Mode::Pod => self.groups(&owners, &gauges),
        }
    }

    fn compare(&self, a: &TableRow, b: &TableRow) -> Ordering {
        let order = self.sort.order(a, b);
        if self.reverse { order.reverse() } else { order }
    }

    fn sort(&self, rows: &mut [TableRow]) {
        rows.sort_by(|a, b| self.compare(a, b));
    }

    fn groups(&self, owners: &[&OwnerEntry], gauges: &[Gauge]) -> Vec<TableRow> {
        let mut groups: HashMap<String, (TableRow, Vec<TableRow>)> = HashMap::new();
        for (known, mut row) in rows_of(owners, gauges) {
            row.depth = 1;
            let name = self.group_of(known);
            let (group, rows) = groups
                .entry(name)
                .or_insert_with_key(|name| (TableRow::group(name, name.as_bytes()), Vec::new()));
            group.add(&row);
            rows.push(row);
        }
        let mut groups: Vec<(TableRow, Vec<TableRow>)> = groups.into_values().collect();
        groups.sort_by(|(a, _), (b, _)| self.compare(a, b));
        let mut all = Vec::with_capacity(owners.len() + groups.len());
        for (mut head, mut rows) in groups {
            let is_folded = self.folded.contains(&head.place);
            head.fold = Some(is_folded);
            all.push(head);
            if !is_folded {
                self.sort(&mut rows);
                all.append(&mut rows);
            }
        }
        all
    }

    /// What the groups of an owner are called.
    fn group_of(&self, known: &OwnerEntry) -> String {
        let k8s = known.owner.k8s.as_ref();
        let namespace = k8s.and_then(|k8s| k8s.namespace.as_deref());
        let pod = k8s.and_then(|k8s| k8s.pod_name.as_deref());
        match (self.mode, namespace, pod) {
            (Mode::Pod, Some(namespace), Some(pod)) => format!("{namespace}/{pod}"),
            (Mode::Namespace, Some(namespace), _) => namespace.to_owned(),
            _ => match known.owner.pod_uid() {
                Some(uid) if self.mode == Mode::Pod => format!("pod {uid}"),
                Some(_) => "(pods without names)".to_owned(),
                None => "(no pod)".to_owned(),
            },
        }
    }

    fn tree(&self, owners: &[&OwnerEntry], gauges: &[Gauge]) -> Vec<TableRow> {
        let mut tree = Branches::default();
        for known in owners {
            let row = TableRow::of(known, gauges);
            let path = known.owner.path().map(str::as_bytes);
            let path = path.filter(|path| path.len() <= LONGEST_PATH);
            tree.add(path.unwrap_or(b"/(gone)"), &row);
            // Those without a path share a row, which is nobody's own.
            if let Some(sum) = path.and_then(|path| tree.sums.get_mut(path)) {
                sum.key = row.key;
                // Below the root a name says where it stands; a container's own name says more.
                if !row.name.starts_with('/') {
                    sum.name = row.name;
                }
            }
        }
        let mut all = Vec::with_capacity(tree.sums.len());
        if let Some(root) = tree.sums.remove(&b"/"[..]) {
            self.branch(&mut tree, b"/", root, &mut all);
        }
        all
    }

    /// A cgroup, whose row has the sums, and what is below it.
    fn branch(
        &self,
        tree: &mut Branches<'_>,
        path: &[u8],
        mut row: TableRow,
        all: &mut Vec<TableRow>,
    ) {
        let below = tree.children.remove(path).unwrap_or_default();
        let (depth, is_folded) = (row.depth + 1, self.folded.contains(&row.place));
        row.fold = (!below.is_empty()).then_some(is_folded);
        all.push(row);
        if is_folded {
            return;
        }
        let rows = below.into_iter();
        let rows = rows.filter_map(|path| Some((path, tree.sums.remove(path)?)));
        let mut rows: Vec<(&[u8], TableRow)> = rows.collect();
        rows.sort_by(|(_, a), (_, b)| self.compare(a, b));
        for (path, mut row) in rows {
            row.depth = depth;
            self.branch(tree, path, row, all);
        }
    }
}

/// A row for each owner: containers that replace each other in a pod are one, the latest with what the others
/// did.
fn rows_of<'a>(owners: &[&'a OwnerEntry], gauges: &[Gauge]) -> Vec<(&'a OwnerEntry, TableRow)> {
    let mut rows: Vec<(&OwnerEntry, TableRow)> = Vec::with_capacity(owners.len());
    let mut places: HashMap<&OwnerKey, usize> = HashMap::new();
    let mut owners = owners.to_vec();
    // The latest first: those that are there, then those that went last.
    owners.sort_by_key(|known| {
        (
            known.gone.is_some(),
            Reverse(known.gone),
            Reverse(known.owner.id()),
        )
    });
    for known in owners {
        let row = TableRow::of(known, gauges);
        // A cgroup inside of a container is a part of it, and no former one.
        if let Some(key) = &known.key {
            if let Some(&place) = places.get(key) {
                rows[place].1.succeed(&row);
                continue;
            }
            places.insert(key, rows.len());
        }
        rows.push((known, row));
    }
    rows
}

/// Cgroups by what is above them.
#[derive(Default)]
struct Branches<'a> {
    sums: HashMap<&'a [u8], TableRow>,
    children: HashMap<&'a [u8], Vec<&'a [u8]>>,
}

impl<'a> Branches<'a> {
    /// Adds to the sums of a cgroup and of all above it.
    fn add(&mut self, path: &'a [u8], row: &TableRow) {
        let mut at = path;
        loop {
            let slash = at.iter().rposition(|&byte| byte == b'/');
            let (above, last) = match slash {
                _ if at == b"/" => (None, at),
                Some(slash) if slash > 0 => (Some(&at[..slash]), &at[slash + 1..]),
                Some(_) => (Some(&b"/"[..]), &at[1..]),
                None => (Some(&b"/"[..]), at),
            };
            let (sum, is_new) = match self.sums.entry(at) {
                Entry::Occupied(known) => (known.into_mut(), false),
                Entry::Vacant(free) => {
                    let place = String::from_utf8_lossy(at);
                    (free.insert(TableRow::group(&place, last)), true)
                }
            };
            sum.add(row);
            let Some(above) = above else { return };
            if is_new {
                self.children.entry(above).or_default().push(at);
            }
            at = above;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        cgroup::CgroupId,
        limits::Reason,
        stream::{Change, OwnerRef, RateEvent},
        tui::app::{
            row::RowKey,
            tests::{changed, owner, pod, rate, window},
        },
    };

    /// The same container of a pod for the nth time.
    fn restarted(n: u64) -> Arc<OwnerRef> {
        let mut again = OwnerRef::clone(&pod(7, "shop", "churner", "app"));
        let path = again.cgroup.path.take().unwrap();
        let (pod, _) = path.rsplit_once('/').unwrap();
        again.cgroup.path = Some(format!("{pod}/{n:064}"));
        again.cgroup.id = 100 + n;
        Arc::new(again)
    }

    #[test]
    fn containers_that_replace_each_other_are_one_row() {
        let mut world = NodeStore::default();
        let apply = |world: &mut NodeStore, lines| {
            for line in lines {
                world.apply(line);
            }
        };
        for n in 1..=3 {
            let mut of = rate(restarted(n), 10 * n);
            of.counts.failed = Some([(Reason::PidsMax, 4)].into_iter().collect());
            of.total.failed = of.counts.failed.clone();
            let beside = rate(owner(1, "/beside"), 5);
            apply(&mut world, window(n, vec![of, beside]));
            if n < 3 {
                world.apply(changed(n, restarted(n), Change::Removed));
            }
        }
        apply(&mut world, window(4, vec![rate(restarted(3), 30)]));
        for mode in [Mode::Flat, Mode::Pod] {
            let order = Order {
                mode,
                ..Order::default()
            };
            let rows = order.rows(&world, |_| true);
            let app: Vec<_> = rows.iter().filter(|row| row.name.contains("app")).collect();
            let app = match &app[..] {
                [one] => one,
                all => panic!("{mode:?}: {all:?}"),
            };
            assert_eq!(app.key, RowKey::Owner(CgroupId(103)));
            assert_eq!((app.tasks, app.failures), (Some(30), 12));
        }
    }

    #[test]
    fn a_cgroup_inside_of_a_container_stays_a_row_of_its_own() {
        let mut world = NodeStore::default();
        let outer = restarted(1);
        let path = outer.path().unwrap_or_default().to_owned();
        let inner = owner(300, &format!("{path}/inner"));
        let rates: Vec<RateEvent> = vec![rate(outer, 3), rate(inner, 4)];
        for line in window(1, rates) {
            world.apply(line);
        }
        let rows = Order::default().rows(&world, |_| true);
        assert_eq!(rows.len(), 2, "{rows:?}");
    }
}
