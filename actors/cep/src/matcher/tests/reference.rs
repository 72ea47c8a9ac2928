//! What a pattern means, by trying everything: each way through it, each choice of events, each rule looked at afterwards.

use crate::language::tree::{Binary, Expr, Item, Node, Pattern, Sequence, SkipTo, StepTree};
use crate::language::{Aggregate, Contiguity, Link};
use crate::schema::Event;

/// Places of events with the steps they are bound to.
type Path = Vec<(usize, u8)>;

#[derive(Clone)]
struct Elem<'a> {
    step: &'a StepTree,
    binding: u8,
    link: Link,
    nots: Vec<(&'a StepTree, bool)>,
}

/// One way through a pattern: every `any`, `all` and `?` decided.
#[derive(Clone, Default)]
struct Way<'a> {
    elems: Vec<Elem<'a>>,
    nots: Vec<(&'a StepTree, bool)>,
}

struct Reference<'a> {
    pattern: &'a Pattern,
    events: &'a [Event],
    names: Vec<&'a str>,
}

/// When a match is certain, and what it is.
type Certain = (usize, u8, i64, Path);

/// Every match, in the order in which they are said: numbers of their events.
pub(super) fn matches(pattern: &Pattern, events: &[Event]) -> Vec<Vec<u64>> {
    let mut reference = Reference { pattern, events, names: Vec::new() };
    let ways = reference.expand(&pattern.sequence, None, vec![Way::default()]);
    // Ways that leave out different steps may be the same.
    let is_same = |a: &Way<'_>, b: &Way<'_>| {
        let nots = |nots: &[(&StepTree, bool)]| {
            nots.iter().map(|(n, only)| (n.name.text.clone(), *only)).collect::<Vec<_>>()
        };
        let elems = |way: &Way<'_>| way.elems.iter().map(|e| (e.binding, nots(&e.nots))).collect::<Vec<_>>();
        elems(a) == elems(b) && nots(&a.nots) == nots(&b.nots)
    };
    let mut different: Vec<Way<'_>> = Vec::new();
    for way in ways {
        if !different.iter().any(|known| is_same(known, &way)) {
            different.push(way);
        }
    }
    let mut keys: Vec<_> = events.iter().map(|e| reference.key(e)).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut all: Vec<Certain> = Vec::new();
    for key in keys {
        let places: Vec<_> = (0..events.len()).filter(|&i| reference.key(&events[i]) == key).collect();
        for way in &different {
            for first in 0..places.len() {
                reference.extend(way, &places, &mut Vec::new(), (0, 0), Some(first), &mut all);
            }
        }
    }
    all.sort();
    let mut said: Vec<Path> = Vec::new();
    for (_, _, _, path) in all {
        let dropped = said.iter().any(|earlier| reference.drops(earlier, &path));
        if !dropped {
            said.push(path);
        }
    }
    said.iter().map(|path| path.iter().map(|&(i, _)| events[i].seq).collect()).collect()
}

impl<'a> Reference<'a> {
    fn key(&self, event: &Event) -> u64 {
        if self.pattern.keys.is_empty() { 0 } else { event.words[1] }
    }

    fn expand(
        &mut self,
        sequence: &'a Sequence,
        first: Option<Link>,
        mut ways: Vec<Way<'a>>,
    ) -> Vec<Way<'a>> {
        for (i, (link, item)) in sequence.items.iter().enumerate() {
            let link = if i == 0 { first.unwrap_or(Link::Strict) } else { *link };
            ways = match item {
                Item::Step(step) => {
                    let binding = self.bind(step);
                    ways.into_iter().flat_map(|way| with(way, step, binding, link)).collect()
                }
                Item::Not(step) => {
                    ways.iter_mut().for_each(|way| way.nots.push((step, link == Link::Strict)));
                    ways
                }
                Item::Any(others) => {
                    others.iter().flat_map(|way| self.expand(way, Some(link), ways.clone())).collect()
                }
                Item::All(steps) => {
                    let bindings: Vec<_> = steps.iter().map(|step| self.bind(step)).collect();
                    let orders = orders(&(0..steps.len()).collect::<Vec<_>>());
                    let mut all = Vec::new();
                    for order in orders {
                        let mut these = ways.clone();
                        for (n, &i) in order.iter().enumerate() {
                            let link = if n == 0 { link } else { Link::Relaxed };
                            these = these
                                .into_iter()
                                .flat_map(|way| with(way, &steps[i], bindings[i], link))
                                .collect();
                        }
                        all.extend(these);
                    }
                    all
                }
            };
        }
        ways
    }

    fn bind(&mut self, step: &'a StepTree) -> u8 {
        self.names.push(&step.name.text);
        (self.names.len() - 1) as u8
    }

    fn fits(&self, step: &StepTree, at: usize, path: &Path) -> bool {
        let ty = ["A", "B", "C", "D"][usize::from(self.events[at].ty)];
        step.ty.text == ty && step.condition.as_ref().is_none_or(|c| self.value(c, Some(at), path) == Some(1))
    }

    /// Only whole numbers; true is 1.
    fn value(&self, tree: &Expr, own: Option<usize>, path: &Path) -> Option<i64> {
        let bound = |name: &str| {
            let binding = self.names.iter().position(|n| *n == name).expect("it is known") as u8;
            path.iter().filter(move |(_, b)| *b == binding).map(|&(i, _)| self.events[i].words[0] as i64)
        };
        Some(match &tree.node {
            Node::Int(value) => *value,
            Node::Name(_) => self.events[own?].words[0] as i64,
            Node::Of(step, _) => bound(&step.text).next_back()?,
            Node::Over(Aggregate::Count, step, _) => bound(&step.text).count() as i64,
            Node::Over(Aggregate::Sum, step, _) => bound(&step.text).reduce(|a, b| a + b)?,
            Node::Over(Aggregate::Max, step, _) => bound(&step.text).max()?,
            Node::Over(Aggregate::First, step, _) => bound(&step.text).next()?,
            Node::Binary(operator, a, b) => {
                let (a, b) = (self.value(a, own, path)?, self.value(b, own, path)?);
                match operator {
                    Binary::Equal => i64::from(a == b),
                    Binary::NotEqual => i64::from(a != b),
                    Binary::Less => i64::from(a < b),
                    Binary::GreaterOrEqual => i64::from(a >= b),
                    Binary::Add => a + b,
                    _ => unreachable!("not made here"),
                }
            }
            _ => unreachable!("not made here"),
        })
    }

    /// Every match that begins with `path`: so many events of an element are taken. `places` are those of one key.
    fn extend(
        &self,
        way: &Way<'a>,
        places: &[usize],
        path: &mut Path,
        (elem, count): (usize, u16),
        only: Option<usize>,
        all: &mut Vec<Certain>,
    ) {
        let this = &way.elems[elem];
        let last = path.last().map(|&(i, _)| places.iter().position(|&p| p == i).expect("its place"));
        let times = this.step.times;
        // One more of this element, or its first.
        if count < times.max && (count == 0 || elem < way.elems.len()) {
            let candidates: Vec<usize> = match (only, last) {
                (Some(first), _) => vec![first],
                (None, Some(last)) if count > 0 => match times.contiguity {
                    Contiguity::Consecutive => vec![last + 1],
                    Contiguity::Relaxed => self.nearest(this.step, places, last, path),
                    Contiguity::Combinations => (last + 1..places.len()).collect(),
                },
                (None, Some(last)) => match this.link {
                    Link::Strict => vec![last + 1],
                    Link::Relaxed => self.nearest(this.step, places, last, path),
                    Link::Every => (last + 1..places.len()).collect(),
                },
                (None, None) => Vec::new(),
            };
            for at in candidates.into_iter().filter(|&at| at < places.len()) {
                if !self.fits(this.step, places[at], path) || !self.in_time(places[at], path) {
                    continue;
                }
                if count == 0
                    && let Some(last) = last
                    && (self.is_hit(&this.nots, places, last, at, path)
                        || self.goes_on(way, elem, places, last, at, path))
                {
                    continue;
                }
                path.push((places[at], this.binding));
                self.extend(way, places, path, (elem, count + 1), None, all);
                path.pop();
            }
        }
        if count == 0 || count < times.min {
            return;
        }
        if elem + 1 < way.elems.len() {
            self.extend(way, places, path, (elem + 1, 0), None, all);
        } else {
            self.end(way, places, path, last.expect("something was taken"), all);
        }
    }

    /// The nearest that fits.
    fn nearest(&self, step: &StepTree, places: &[usize], last: usize, path: &Path) -> Vec<usize> {
        (last + 1..places.len()).find(|&at| self.fits(step, places[at], path)).into_iter().collect()
    }

    fn in_time(&self, at: usize, path: &Path) -> bool {
        let first = path.first().map_or(at, |&(i, _)| i);
        self.pattern.within.is_none_or(|within| self.events[at].time - self.events[first].time <= within)
    }

    fn is_hit(
        &self,
        nots: &[(&StepTree, bool)],
        places: &[usize],
        last: usize,
        to: usize,
        path: &Path,
    ) -> bool {
        let hits = |&(step, next_only): &(&StepTree, bool)| {
            let until = if next_only { last + 1 } else { to };
            (last + 1..=until.min(to)).any(|at| self.fits(step, places[at], path))
        };
        nots.iter().any(hits)
    }

    /// True where the greedy element before could have gone on.
    fn goes_on(
        &self,
        way: &Way<'a>,
        elem: usize,
        places: &[usize],
        last: usize,
        to: usize,
        path: &Path,
    ) -> bool {
        let Some(before) = elem.checked_sub(1).map(|before| &way.elems[before]) else { return false };
        let times = before.step.times;
        let taken = path.iter().filter(|(_, binding)| *binding == before.binding).count();
        let until = if times.contiguity == Contiguity::Consecutive { last + 1 } else { to };
        times.is_greedy
            && taken < usize::from(times.max)
            && (last + 1..=until).any(|at| self.fits(before.step, places[at], path))
    }

    fn end(&self, way: &Way<'a>, places: &[usize], path: &Path, last: usize, all: &mut Vec<Certain>) {
        if self.pattern.condition.as_ref().is_some_and(|c| self.value(c, None, path) != Some(1)) {
            return;
        }
        if way.nots.is_empty() {
            all.push((places[last], 1, 0, path.clone()));
            return;
        }
        let deadline = self.events[path[0].0].time + self.pattern.within.expect("it is checked");
        let until = places.iter().rposition(|&at| self.events[at].time <= deadline).unwrap_or(0);
        if !self.is_hit(&way.nots, places, last, until, path) {
            let certain = self.events.iter().position(|e| e.time > deadline).unwrap_or(self.events.len());
            all.push((certain, 0, deadline, path.clone()));
        }
    }

    fn drops(&self, earlier: &Path, later: &Path) -> bool {
        if self.key(&self.events[earlier[0].0]) != self.key(&self.events[later[0].0]) {
            return false;
        }
        let of = |name: &str| self.names.iter().position(|n| *n == name).expect("it is known") as u8;
        let end = earlier[earlier.len() - 1].0;
        let before = match &self.pattern.skip {
            SkipTo::None => return false,
            SkipTo::Next => earlier[0].0 + 1,
            SkipTo::PastLast => end + 1,
            SkipTo::ToFirst(step) => {
                earlier.iter().find(|(_, b)| *b == of(&step.text)).map_or(0, |&(i, _)| i)
            }
            SkipTo::ToLast(step) => {
                earlier.iter().rfind(|(_, b)| *b == of(&step.text)).map_or(0, |&(i, _)| i)
            }
        };
        (earlier[0].0..before).contains(&later[0].0)
    }
}

/// A way with a step, and where it may be left out, the way without.
fn with<'a>(way: Way<'a>, step: &'a StepTree, binding: u8, link: Link) -> Vec<Way<'a>> {
    let mut taken = way.clone();
    let nots = std::mem::take(&mut taken.nots);
    taken.elems.push(Elem { step, binding, link, nots });
    if step.times.min == 0 { vec![taken, way] } else { vec![taken] }
}

fn orders(left: &[usize]) -> Vec<Vec<usize>> {
    if left.is_empty() {
        return vec![Vec::new()];
    }
    let first = |i: usize| {
        let others: Vec<_> = left.iter().copied().filter(|&o| o != i).collect();
        orders(&others).into_iter().map(move |rest| [vec![i], rest].concat())
    };
    left.iter().flat_map(|&i| first(i)).collect()
}
