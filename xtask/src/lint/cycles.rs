//! Circles among files: a file that imports another, and by some way is imported by it.

use std::collections::{BTreeMap, BTreeSet};

/// The strongly connected components with more than one member (Tarjan, 1972), each sorted.
pub fn cycles<T: Ord + Clone>(edges: &BTreeSet<(T, T)>) -> Vec<Vec<T>> {
    let mut graph: BTreeMap<&T, Vec<&T>> = BTreeMap::new();
    for (from, to) in edges {
        graph.entry(from).or_default().push(to);
        graph.entry(to).or_default();
    }
    let mut search = Search {
        graph: &graph,
        seen: BTreeMap::new(),
        stack: Vec::new(),
        found: Vec::new(),
    };
    for node in graph.keys() {
        if !search.seen.contains_key(node) {
            search.visit(node);
        }
    }
    search.found.sort();
    search.found
}

struct Search<'a, T> {
    graph: &'a BTreeMap<&'a T, Vec<&'a T>>,
    /// When a node was first seen; `None` once its component is known.
    seen: BTreeMap<&'a T, Option<usize>>,
    stack: Vec<&'a T>,
    found: Vec<Vec<T>>,
}

impl<'a, T: Ord + Clone> Search<'a, T> {
    /// The earliest node that can be reached, by when it was seen.
    fn visit(&mut self, node: &'a T) -> usize {
        let own = self.seen.len();
        self.seen.insert(node, Some(own));
        self.stack.push(node);
        let mut low = own;
        for next in &self.graph[node] {
            match self.seen.get(next) {
                None => low = low.min(self.visit(next)),
                Some(Some(seen)) => low = low.min(*seen),
                Some(None) => {}
            }
        }
        if low == own {
            let start = self.stack.iter().position(|it| *it == node).unwrap_or(0);
            let mut members: Vec<T> = self.stack.drain(start..).cloned().collect();
            for member in &self.graph.keys().copied().collect::<Vec<_>>() {
                if members.contains(member) {
                    self.seen.insert(member, None);
                }
            }
            members.sort();
            if members.len() > 1 {
                self.found.push(members);
            }
        }
        low
    }
}
