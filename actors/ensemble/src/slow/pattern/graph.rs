//! Near neighbours by a graph of small worlds in layers (Malkov and Yashunin, IEEE Transactions on Pattern Analysis and Machine Intelligence 42,
//! 2020, algorithms 1 to 5). The same insertions give the same graph: layers are drawn from a seed, ties go to the lower number.
//!
//! A node's place can be given to somebody else; those that lose a link get the nearest of its other neighbours.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use kimera_numerics::ln;
use kimera_numerics::seeded::SeededNormals;

/// Links of a node in an upper layer; twice as many in the lowest.
const M: usize = 16;
const M_LOWEST: usize = 2 * M;
/// Links beyond those before the list is looked through: so that it is not for each new one.
const SLACK: usize = 16;
/// Candidates looked at for a new node.
const EF_BUILD: usize = 200;
/// Candidates looked at for a question.
pub const EF_SEARCH: usize = 64;
const LAYERS_MAX: usize = 12;

/// How near two nodes are: the larger the nearer.
pub trait Nearness {
    /// Of two nodes in the graph.
    fn between(&self, a: u32, b: u32) -> f32;
}

/// A node and how near it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// Nearness.
    pub nearness: f32,
    /// The node.
    pub node: u32,
}

impl Eq for Near {}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nearness.total_cmp(&other.nearness).then(other.node.cmp(&self.node))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The graph; what its nodes are is known to a [`Nearness`].
#[derive(Clone, Debug)]
pub struct Graph {
    /// Links by node and layer; no layer where the node is not in the graph.
    links: Vec<Vec<Vec<u32>>>,
    /// Where a search begins: a node of the topmost layer.
    entry: Option<u32>,
    levels: SeededNormals,
    /// By node: the last search that came by.
    seen: Vec<u32>,
    search: u32,
}

impl Default for Graph {
    /// Without a node.
    fn default() -> Self {
        Self {
            links: Vec::new(),
            entry: None,
            levels: SeededNormals::new(0x006D_6170),
            seen: Vec::new(),
            search: 0,
        }
    }
}

impl Graph {
    fn layers(&self, node: u32) -> usize {
        self.links.get(node as usize).map_or(0, Vec::len)
    }

    /// Puts a node in.
    pub fn insert(&mut self, node: u32, of: &impl Nearness) {
        let at = node as usize;
        if self.links.len() <= at {
            self.links.resize(at + 1, Vec::new());
            self.seen.resize(at + 1, 0);
        }
        let layers = 1 + ((-ln(self.levels.uniform()) / ln(M as f64)) as usize).min(LAYERS_MAX - 1);
        self.links[at] = vec![Vec::new(); layers];
        let Some(entry) = self.entry else {
            self.entry = Some(node);
            return;
        };
        let top = self.layers(entry);
        let mut from = vec![Near { nearness: of.between(node, entry), node: entry }];
        for layer in (layers..top).rev() {
            from = self.search_layer(&from, 1, layer, |other| of.between(node, other));
        }
        for layer in (0..layers.min(top)).rev() {
            from = self.search_layer(&from, EF_BUILD, layer, |other| of.between(node, other));
            let chosen = choose(&from, M, of);
            for &other in &chosen {
                self.link(other, node, layer, of);
            }
            self.links[at][layer] = chosen;
        }
        if layers > top {
            self.entry = Some(node);
        }
    }

    /// One more link; where there are too many, those that are worth the least go.
    fn link(&mut self, from: u32, to: u32, layer: usize, of: &impl Nearness) {
        let most = if layer == 0 { M_LOWEST } else { M };
        let links = &mut self.links[from as usize][layer];
        if links.contains(&to) {
            return;
        }
        links.push(to);
        if links.len() > most + SLACK {
            let mut near: Vec<Near> =
                links.iter().map(|&node| Near { nearness: of.between(from, node), node }).collect();
            near.sort_unstable_by(|a, b| b.cmp(a));
            self.links[from as usize][layer] = choose(&near, most, of);
        }
    }

    /// Puts somebody else in a node's place. Those that the node named lose it and get the nearest of the others it named; who named it without
    /// being named keeps a link that leads far, until it is looked through.
    pub fn replace(&mut self, node: u32, of: &impl Nearness) {
        let Some(its) = self.links.get_mut(node as usize).map(std::mem::take) else { return };
        for (layer, neighbours) in its.iter().enumerate() {
            for &other in neighbours {
                let Some(links) = self.links[other as usize].get_mut(layer) else { continue };
                let Some(place) = links.iter().position(|&to| to == node) else { continue };
                links.remove(place);
                let stands = |to: &&u32| {
                    **to != other
                        && self.links[**to as usize].len() > layer
                        && !self.links[other as usize][layer].contains(to)
                };
                let instead = neighbours
                    .iter()
                    .filter(stands)
                    .map(|&to| Near { nearness: of.between(other, to), node: to })
                    .max();
                if let Some(instead) = instead {
                    self.link(other, instead.node, layer, of);
                    self.link(instead.node, other, layer, of);
                }
            }
        }
        if self.entry == Some(node) {
            // The node of most layers, the lowest number among them.
            let highest = (0..self.links.len() as u32).rev().max_by_key(|&node| self.layers(node));
            self.entry = highest.filter(|&node| self.layers(node) > 0);
        }
        self.insert(node, of);
    }

    /// The `k` nearest that a search finds, nearest first.
    pub fn nearest(&mut self, k: usize, nearness: impl Fn(u32) -> f32) -> Vec<Near> {
        let Some(entry) = self.entry else { return Vec::new() };
        let mut from = vec![Near { nearness: nearness(entry), node: entry }];
        for layer in (1..self.layers(entry)).rev() {
            from = self.search_layer(&from, 1, layer, &nearness);
        }
        let mut found = self.search_layer(&from, EF_SEARCH.max(k), 0, nearness);
        found.truncate(k);
        found
    }

    /// Algorithm 2: the `ef` nearest of a layer that are found from some of its nodes, nearest first.
    fn search_layer(
        &mut self,
        from: &[Near],
        ef: usize,
        layer: usize,
        nearness: impl Fn(u32) -> f32,
    ) -> Vec<Near> {
        self.search = self.search.wrapping_add(1);
        if self.search == 0 {
            self.seen.fill(0);
            self.search = 1;
        }
        let mut ahead: BinaryHeap<Near> = from.iter().copied().collect();
        let mut found: BinaryHeap<std::cmp::Reverse<Near>> =
            from.iter().copied().map(std::cmp::Reverse).collect();
        from.iter().for_each(|near| self.seen[near.node as usize] = self.search);
        while let Some(next) = ahead.pop() {
            let worst = found.peek().map_or(f32::NEG_INFINITY, |r| r.0.nearness);
            if next.nearness < worst && found.len() >= ef {
                break;
            }
            let Some(links) = self.links[next.node as usize].get(layer) else { continue };
            for &node in links {
                let seen = &mut self.seen[node as usize];
                // A link from before its place was given away may lead to who is not in this layer.
                if std::mem::replace(seen, self.search) == self.search
                    || self.links[node as usize].len() <= layer
                {
                    continue;
                }
                let near = Near { nearness: nearness(node), node };
                let worst = found.peek().map_or(f32::NEG_INFINITY, |r| r.0.nearness);
                if found.len() < ef || near.nearness > worst {
                    ahead.push(near);
                    found.push(std::cmp::Reverse(near));
                    if found.len() > ef {
                        found.pop();
                    }
                }
            }
        }
        let mut found: Vec<Near> = found.into_iter().map(|r| r.0).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
    }
}

/// Algorithm 4: of candidates, nearest first, those that are nearer to the node than to any chosen before them; then the nearest of the rest.
fn choose(candidates: &[Near], most: usize, of: &impl Nearness) -> Vec<u32> {
    let mut chosen: Vec<u32> = Vec::with_capacity(most);
    for near in candidates {
        if chosen.len() == most {
            return chosen;
        }
        if chosen.iter().all(|&other| of.between(near.node, other) < near.nearness) {
            chosen.push(near.node);
        }
    }
    for near in candidates {
        if chosen.len() == most {
            break;
        }
        if !chosen.contains(&near.node) {
            chosen.push(near.node);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points of a few clouds in sixteen dimensions.
    struct Points(Vec<[f32; 16]>);

    impl Points {
        fn clouds(n: usize, seed: u64) -> Self {
            let mut normals = SeededNormals::new(seed);
            let centres: Vec<[f32; 16]> =
                (0..20).map(|_| std::array::from_fn(|_| 2.0 * normals.normal() as f32)).collect();
            let point = |i: usize, normals: &mut SeededNormals| {
                let centre = centres[i % centres.len()];
                std::array::from_fn(|d| centre[d] + normals.normal() as f32)
            };
            Self((0..n).map(|i| point(i, &mut normals)).collect())
        }
    }

    impl Nearness for Points {
        fn between(&self, a: u32, b: u32) -> f32 {
            let (a, b) = (&self.0[a as usize], &self.0[b as usize]);
            -a.iter().zip(b).fold(0.0, |sum, (x, y)| sum + (x - y) * (x - y))
        }
    }

    fn recall(graph: &mut Graph, points: &Points, alive: &[u32], questions: &[u32]) -> f64 {
        let mut right = 0;
        for &question in questions {
            let found = graph.nearest(16, |node| points.between(question, node));
            let mut all: Vec<Near> =
                alive.iter().map(|&node| Near { nearness: points.between(question, node), node }).collect();
            all.sort_unstable_by(|a, b| b.cmp(a));
            right += all[..16].iter().filter(|near| found.contains(near)).count();
        }
        right as f64 / (16 * questions.len()) as f64
    }

    #[test]
    fn it_finds_nearly_all_of_the_nearest() {
        let points = Points::clouds(2_000, 1);
        let mut graph = Graph::default();
        (0..2_000).for_each(|node| graph.insert(node, &points));
        let alive: Vec<u32> = (0..2_000).collect();
        let questions: Vec<u32> = (0..100).map(|i| i * 17).collect();
        let share = recall(&mut graph, &points, &alive, &questions);
        assert!(share > 0.97, "{share}");
        let mut again = Graph::default();
        (0..2_000).for_each(|node| again.insert(node, &points));
        assert_eq!(graph.links, again.links, "the same insertions, the same graph");
    }

    #[test]
    fn places_are_given_to_others_and_they_are_found_there() {
        let mut points = Points::clouds(1_000, 2);
        let others = Points::clouds(2_000, 3);
        let mut graph = Graph::default();
        graph.replace(7, &points); // nobody is there yet
        (0..1_000).for_each(|node| graph.insert(node, &points));
        // Everybody twice.
        for (i, other) in others.0.iter().enumerate() {
            points.0[i % 1_000] = *other;
            graph.replace((i % 1_000) as u32, &points);
        }
        let longest = graph.links.iter().flatten().map(Vec::len).max().unwrap();
        assert!(longest <= M_LOWEST + SLACK && graph.links.iter().all(|layers| !layers.is_empty()));
        let alive: Vec<u32> = (0..1_000).collect();
        let share = recall(&mut graph, &points, &alive, &(0..60).map(|i| i * 16).collect::<Vec<_>>());
        assert!(share > 0.95, "{share}");
    }
}
