//! Trees to programs: every name is looked up, every type is known, and what could grow without bound is refused.

use super::Mistake;
use super::condition::Condition;
use super::lexer::Place;
use super::program::{
    Aggregate, Contiguity, Edge, Expression, Link, Not, Op, Program, STACK_MAX, Skip, Slot, Step,
};
use super::tree::{Binary, Expr, Item, Name, Node, Pattern, Sequence, SkipTo, StepTree, Unary};
use crate::schema::{SEQ, Schema, TIME, Type, Value};

/// Steps of a program, each order of an `all` counted.
const STEPS_MAX: usize = 64;
/// Steps of an `all`: every order of them is a way of its own.
const ALL_MAX: usize = 4;
/// Links and quantifiers that fan out (`->*`, `+*`), at most.
const FANS_MAX: usize = 4;
/// Ways that a pattern may have come at one place, at most.
const ENDS_MAX: usize = 256;
/// Edges of a program, at most.
const EDGES_MAX: usize = 4_096;
/// Events of the shortest match, at most: more than a run may take.
const EVENTS_MAX: u32 = 64;
/// Keys of a pattern, at most.
pub(crate) const KEYS_MAX: usize = 4;

type Checked<T> = Result<T, Mistake>;

fn mistake<T>(place: Place, what: impl Into<String>) -> Checked<T> {
    Err(Mistake::new(place, what))
}

/// "a, b and c", for messages.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// A pattern as a program.
pub(super) fn compile(pattern: &Pattern, schema: &Schema) -> Checked<Program> {
    let mut builder = Builder::new(pattern, schema)?;
    let start = End { from: None, nots: Vec::new(), seen: 0, least: 0 };
    let ends = builder.sequence(&pattern.sequence, None, vec![start])?;
    if ends.iter().all(|end| end.least > EVENTS_MAX) {
        return mistake(
            pattern.sequence.place,
            format!("no match has less than {EVENTS_MAX} events, the most there may be"),
        );
    }
    for End { from, nots, .. } in ends {
        if from.is_none() {
            return mistake(
                pattern.sequence.place,
                "every step is optional: nothing at all would be a match",
            );
        }
        if !nots.is_empty() && pattern.within.is_none() {
            return mistake(
                pattern.sequence.place,
                "what must not come at the end needs \"within\": without it nobody knows when to stop waiting",
            );
        }
        builder.edge(from, None, Link::Strict, nots, pattern.sequence.place)?;
    }
    builder.finish(pattern)
}

/// Where a run may be when the next item is looked for.
#[derive(Clone)]
struct End {
    /// Behind this step, or at the beginning.
    from: Option<u8>,
    /// What must not come meanwhile.
    nots: Vec<Not>,
    /// A bit for each binding that may have come by.
    seen: u64,
    /// Events of the shortest way to here.
    least: u32,
}

/// Ends that are the same are one; too many are refused.
fn merged(ends: Vec<End>, place: Place) -> Checked<Vec<End>> {
    let mut all: Vec<End> = Vec::new();
    for end in ends {
        if let Some(known) = all.iter_mut().find(|known| known.from == end.from && known.nots == end.nots) {
            known.seen |= end.seen;
            known.least = known.least.min(end.least);
        } else if all.len() == ENDS_MAX {
            return mistake(place, format!("more than {ENDS_MAX} ways lead to here"));
        } else {
            all.push(end);
        }
    }
    Ok(all)
}

struct Builder<'a> {
    schema: &'a Schema,
    within: bool,
    streams: Vec<&'a str>,
    keys: Vec<(&'a str, Type)>,
    /// Name and kind, by binding.
    bindings: Vec<(&'a str, usize)>,
    steps: Vec<Step>,
    /// Edges with where they begin.
    edges: Vec<(Option<u8>, Edge)>,
    fans: usize,
}

impl<'a> Builder<'a> {
    fn new(pattern: &'a Pattern, schema: &'a Schema) -> Checked<Self> {
        for stream in &pattern.streams {
            if !schema.types.iter().any(|ty| ty.stream == stream.text) {
                let mut known: Vec<_> = schema.types.iter().map(|ty| ty.stream.as_str()).collect();
                known.dedup();
                let what =
                    format!("there is no stream \"{}\"; there are {}", stream.text, list(known.into_iter()));
                return mistake(stream.place, what);
            }
        }
        let mut builder = Self {
            schema,
            within: pattern.within.is_some(),
            streams: pattern.streams.iter().map(|stream| stream.text.as_str()).collect(),
            keys: Vec::new(),
            bindings: Vec::new(),
            steps: Vec::new(),
            edges: Vec::new(),
            fans: 0,
        };
        for key in &pattern.keys {
            builder.add_key(key)?;
        }
        Ok(builder)
    }

    /// A key is a field of every kind of the pattern's streams.
    fn add_key(&mut self, key: &'a Name) -> Checked<()> {
        if self.keys.len() == KEYS_MAX {
            return mistake(key.place, format!("more than {KEYS_MAX} keys"));
        }
        let mut found = None;
        for (i, ty) in self.schema.types.iter().enumerate() {
            if !self.streams.contains(&ty.stream.as_str()) {
                continue;
            }
            let slot = self.field(i, &key.text, key.place)?.ty();
            if found.is_some_and(|known| known != slot) {
                return mistake(
                    key.place,
                    format!("\"{}\" is not the same in all of these streams", key.text),
                );
            }
            found = Some(slot);
        }
        self.keys.extend(found.map(|ty| (key.text.as_str(), ty)));
        Ok(())
    }

    fn field(&self, ty: usize, name: &str, place: Place) -> Checked<Slot> {
        let Some(event) = self.schema.types.get(ty) else { return mistake(place, "no such kind of event") };
        if name == TIME {
            return Ok(Slot::Time);
        }
        if name == SEQ {
            return Ok(Slot::Seq);
        }
        match event.fields.iter().position(|field| field.name == name) {
            Some(index) => Ok(Slot::Field(index as u8, event.fields[index].ty)),
            None => {
                let known = list(event.fields.iter().map(|field| field.name.as_str()));
                mistake(
                    place,
                    format!("{} has no field \"{name}\"; it has {known}, {TIME}, {SEQ}", event.name),
                )
            }
        }
    }

    fn kind(&self, name: &Name) -> Checked<usize> {
        match self.schema.type_of(&name.text) {
            Some(ty) if self.streams.contains(&self.schema.types[ty].stream.as_str()) => Ok(ty),
            Some(ty) => {
                let what = format!(
                    "{} is an event of \"{}\", which comes not behind \"on\"",
                    name.text, self.schema.types[ty].stream
                );
                mistake(name.place, what)
            }
            None => {
                let of_ours =
                    self.schema.types.iter().filter(|ty| self.streams.contains(&ty.stream.as_str()));
                let known = list(of_ours.map(|ty| ty.name.as_str()));
                mistake(
                    name.place,
                    format!("there is no event \"{}\"; these streams have {known}", name.text),
                )
            }
        }
    }

    fn edge(
        &mut self,
        from: Option<u8>,
        to: Option<u8>,
        link: Link,
        nots: Vec<Not>,
        place: Place,
    ) -> Checked<()> {
        if self.edges.len() == EDGES_MAX {
            return mistake(place, format!("more than {EDGES_MAX} ways from one step to the next"));
        }
        self.edges.push((from, Edge { to, link, nots: nots.into() }));
        Ok(())
    }

    fn sequence(
        &mut self,
        sequence: &'a Sequence,
        first: Option<Link>,
        mut ends: Vec<End>,
    ) -> Checked<Vec<End>> {
        for (i, (link, item)) in sequence.items.iter().enumerate() {
            let link = if i == 0 { first.unwrap_or(Link::Strict) } else { *link };
            if link == Link::Every && !(i == 0 && first.is_some()) {
                self.fans += 1;
            }
            ends = self.item(item, link, ends)?;
        }
        Ok(ends)
    }

    fn item(&mut self, item: &'a Item, link: Link, ends: Vec<End>) -> Checked<Vec<End>> {
        match item {
            Item::Step(step) => {
                let binding = self.bind(step)?;
                self.step(step, binding, link, ends)
            }
            Item::Not(step) => self.not(step, link, ends),
            Item::Any(ways) => {
                let mut all = Vec::new();
                for way in ways {
                    all.extend(self.sequence(way, Some(link), ends.clone())?);
                }
                merged(all, ways.first().map_or_else(Place::default, |way| way.place))
            }
            Item::All(steps) => {
                if let Some(step) = steps.iter().find(|step| step.times.min == 0) {
                    return mistake(step.name.place, "every step of an \"all\" has to come");
                }
                if steps.len() > ALL_MAX {
                    return mistake(steps[0].name.place, format!("\"all\" takes at most {ALL_MAX} steps"));
                }
                let bindings = steps.iter().map(|step| self.bind(step)).collect::<Checked<Vec<_>>>()?;
                let mut result = Vec::new();
                let order: Vec<_> = (0..steps.len()).collect();
                self.orders(steps, &bindings, &order, link, &ends, &mut result)?;
                merged(result, steps[0].name.place)
            }
        }
    }

    /// Every order of what is left of an `all`.
    fn orders(
        &mut self,
        steps: &'a [StepTree],
        bindings: &[u8],
        left: &[usize],
        link: Link,
        ends: &[End],
        result: &mut Vec<End>,
    ) -> Checked<()> {
        if left.is_empty() {
            result.extend_from_slice(ends);
            return Ok(());
        }
        for &i in left {
            let ends = self.step(&steps[i], bindings[i], link, ends.to_vec())?;
            let others: Vec<_> = left.iter().copied().filter(|&other| other != i).collect();
            self.orders(steps, bindings, &others, Link::Relaxed, &ends, result)?;
        }
        Ok(())
    }

    fn bind(&mut self, step: &'a StepTree) -> Checked<u8> {
        if self.bindings.len() == STEPS_MAX {
            return mistake(step.name.place, format!("more than {STEPS_MAX} steps"));
        }
        if self.bindings.iter().any(|(name, _)| *name == step.name.text) {
            return mistake(step.name.place, format!("there is a step \"{}\" already", step.name.text));
        }
        let ty = self.kind(&step.ty)?;
        self.bindings.push((&step.name.text, ty));
        if step.times.contiguity == Contiguity::Combinations && step.times.max > 1 {
            self.fans += 1;
            if step.times.max == u16::MAX && !self.within {
                return mistake(step.name.place, "all combinations of a step without end need \"within\"");
            }
        }
        if step.times.is_greedy && (step.times.max == 1 || step.times.min == 0) {
            return mistake(
                step.name.place,
                "\"greedy\" is for a step that comes, and may come more than once",
            );
        }
        Ok((self.bindings.len() - 1) as u8)
    }

    fn step(&mut self, tree: &'a StepTree, binding: u8, link: Link, ends: Vec<End>) -> Checked<Vec<End>> {
        if self.steps.len() == STEPS_MAX {
            return mistake(
                tree.name.place,
                format!("more than {STEPS_MAX} steps, each order of an \"all\" counted"),
            );
        }
        let (_, ty) = self.bindings[usize::from(binding)];
        let seen = ends.iter().fold(1 << binding, |seen, end| seen | end.seen);
        let least = ends.iter().map(|end| end.least).min().unwrap_or(0) + u32::from(tree.times.min.max(1));
        let condition = self.condition(tree.condition.as_ref(), Scope { own: Some(ty), known: seen })?;
        let index = self.steps.len() as u8;
        let times = tree.times;
        self.steps.push(Step {
            ty: ty as u8,
            condition,
            binding,
            min: times.min,
            max: times.max,
            contiguity: times.contiguity,
            is_greedy: times.is_greedy,
            follow: Box::default(),
        });
        for End { from, nots, .. } in &ends {
            self.edge(*from, Some(index), link, nots.clone(), tree.name.place)?;
        }
        let behind = End { from: Some(index), nots: Vec::new(), seen, least };
        let without = if times.min == 0 { ends } else { Vec::new() };
        merged(std::iter::once(behind).chain(without).collect(), tree.name.place)
    }

    fn not(&mut self, tree: &'a StepTree, link: Link, mut ends: Vec<End>) -> Checked<Vec<End>> {
        if ends.iter().any(|end| end.from.is_none()) {
            return mistake(
                tree.name.place,
                "what must not come stands behind a step that has come, not before the first",
            );
        }
        let ty = self.kind(&tree.ty)?;
        let seen = ends.iter().fold(0, |seen, end| seen | end.seen);
        let condition = self.condition(tree.condition.as_ref(), Scope { own: Some(ty), known: seen })?;
        for end in &mut ends {
            end.nots.push(Not {
                ty: ty as u8,
                condition: condition.clone(),
                is_next_only: link == Link::Strict,
            });
        }
        Ok(ends)
    }

    fn condition(&self, tree: Option<&Expr>, scope: Scope) -> Checked<Option<Condition>> {
        let Some(tree) = tree else { return Ok(None) };
        let (ty, ops) = self.expression(tree, scope)?;
        if ty != Type::Bool {
            return mistake(tree.place, format!("expected something true or false, found {}", ty.name()));
        }
        Ok(Some(Condition::of(&ops)))
    }

    fn expression(&self, tree: &Expr, scope: Scope) -> Checked<(Type, Expression)> {
        let mut ops = Vec::new();
        let ty = self.compile(tree, scope, &mut ops)?;
        let (mut height, mut highest) = (0usize, 0);
        for op in &ops {
            match op {
                Op::Push(_) | Op::Own(_) | Op::Key(..) | Op::Of(..) | Op::Over(..) => height += 1,
                Op::Minus | Op::Not => {}
                _ => height -= 1,
            }
            highest = highest.max(height);
        }
        if highest > STACK_MAX {
            return mistake(tree.place, "too many brackets within one another");
        }
        Ok((ty, ops.into()))
    }

    fn compile(&self, tree: &Expr, scope: Scope, ops: &mut Vec<Op>) -> Checked<Type> {
        let (ty, op) = match &tree.node {
            Node::Int(value) => (Type::Int, Op::Push(Value::Int(*value))),
            Node::Float(value) => (Type::Float, Op::Push(Value::Float(*value))),
            Node::Bool(value) => (Type::Bool, Op::Push(Value::Bool(*value))),
            Node::Name(name) => self.plain(name, tree.place, scope)?,
            Node::Of(step, field) => {
                let (binding, ty) = self.bound(step, scope)?;
                let slot = self.field(ty, &field.text, field.place)?;
                (slot.ty(), Op::Of(binding, slot))
            }
            Node::Over(aggregate, step, field) => self.aggregate(*aggregate, step, field.as_ref(), scope)?,
            Node::Unary(operator, inner) => {
                let ty = self.compile(inner, scope, ops)?;
                match operator {
                    Unary::Minus if ty.is_number() => (ty, Op::Minus),
                    Unary::Not if ty == Type::Bool => (ty, Op::Not),
                    _ => return mistake(inner.place, format!("{} cannot be negated so", ty.name())),
                }
            }
            Node::Binary(operator, left, right) => return self.binary(*operator, left, right, scope, ops),
        };
        ops.push(op);
        Ok(ty)
    }

    /// A field of the event itself, a key, or a word.
    fn plain(&self, name: &str, place: Place, scope: Scope) -> Checked<(Type, Op)> {
        let own = scope.own.map(|ty| self.field(ty, name, place));
        if let Some(Ok(slot)) = own {
            return Ok((slot.ty(), Op::Own(slot)));
        }
        if let Some(index) = self.keys.iter().position(|(key, _)| *key == name) {
            let ty = self.keys[index].1;
            return Ok((ty, Op::Key(index as u8, ty)));
        }
        if let Some(symbol) = self.schema.symbol(name) {
            return Ok((Type::Symbol, Op::Push(Value::Symbol(symbol))));
        }
        match own {
            Some(Err(mistake)) => Err(mistake),
            _ => mistake(
                place,
                format!("\"{name}\" is no key and no word; a step's field is written STEP.{name}"),
            ),
        }
    }

    fn bound(&self, step: &Name, scope: Scope) -> Checked<(u8, usize)> {
        match self.bindings.iter().position(|(name, _)| *name == step.text) {
            Some(binding) if scope.known & (1 << binding) != 0 => {
                Ok((binding as u8, self.bindings[binding].1))
            }
            _ => {
                let known = self.bindings.iter().enumerate().filter(|(i, _)| scope.known & (1 << i) != 0);
                let known = list(known.map(|(_, (name, _))| *name));
                mistake(
                    step.place,
                    format!("\"{}\" is no step that has come by here; those are: {known}", step.text),
                )
            }
        }
    }

    fn aggregate(
        &self,
        aggregate: Aggregate,
        step: &Name,
        field: Option<&Name>,
        scope: Scope,
    ) -> Checked<(Type, Op)> {
        let (binding, ty) = self.bound(step, scope)?;
        let Some(field) = field else {
            if aggregate == Aggregate::Count {
                return Ok((Type::Int, Op::Over(aggregate, binding, Slot::Seq)));
            }
            return mistake(step.place, format!("of which field of \"{}\"?", step.text));
        };
        let slot = self.field(ty, &field.text, field.place)?;
        let ty = match aggregate {
            Aggregate::Count => Type::Int,
            Aggregate::First | Aggregate::Last => slot.ty(),
            _ if !slot.ty().is_number() => {
                return mistake(
                    field.place,
                    format!("\"{}\" is {}, not a number", field.text, slot.ty().name()),
                );
            }
            Aggregate::Average => Type::Float,
            _ => slot.ty(),
        };
        Ok((ty, Op::Over(aggregate, binding, slot)))
    }

    fn binary(
        &self,
        operator: Binary,
        left: &Expr,
        right: &Expr,
        scope: Scope,
        ops: &mut Vec<Op>,
    ) -> Checked<Type> {
        // "Greater" is "less" the other way round.
        let swapped = matches!(operator, Binary::Greater | Binary::GreaterOrEqual);
        let (first, second) = if swapped { (right, left) } else { (left, right) };
        let a = self.compile(first, scope, ops)?;
        let b = self.compile(second, scope, ops)?;
        let numbers = a.is_number() && b.is_number();
        let both = if a == Type::Int && b == Type::Int { Type::Int } else { Type::Float };
        let (fits, ty, op) = match operator {
            Binary::Or => (a == Type::Bool && b == Type::Bool, Type::Bool, Op::Or),
            Binary::And => (a == Type::Bool && b == Type::Bool, Type::Bool, Op::And),
            Binary::Equal => (numbers || a == b, Type::Bool, Op::Equal),
            Binary::NotEqual => (numbers || a == b, Type::Bool, Op::NotEqual),
            Binary::Less | Binary::Greater => (numbers, Type::Bool, Op::Less),
            Binary::LessOrEqual | Binary::GreaterOrEqual => (numbers, Type::Bool, Op::LessOrEqual),
            Binary::Add => (numbers, both, Op::Add),
            Binary::Subtract => (numbers, both, Op::Subtract),
            Binary::Multiply => (numbers, both, Op::Multiply),
            Binary::Divide => (numbers, Type::Float, Op::Divide),
        };
        if !fits {
            let (a, b) = if swapped { (b, a) } else { (a, b) };
            return mistake(left.place, format!("{} and {} do not go together here", a.name(), b.name()));
        }
        ops.push(op);
        Ok(ty)
    }

    fn skip(&self, skip: &SkipTo) -> Checked<Skip> {
        let all = Scope { own: None, known: u64::MAX };
        Ok(match skip {
            SkipTo::None => Skip::None,
            SkipTo::Next => Skip::Next,
            SkipTo::PastLast => Skip::PastLast,
            SkipTo::ToFirst(step) => Skip::ToFirst(self.bound(step, all)?.0),
            SkipTo::ToLast(step) => Skip::ToLast(self.bound(step, all)?.0),
        })
    }

    fn finish(mut self, pattern: &Pattern) -> Checked<Program> {
        if self.fans > FANS_MAX {
            let what = format!("more than {FANS_MAX} links and quantifiers that fan out (->*, +*)");
            return mistake(pattern.sequence.place, what);
        }
        let ends_greedy = |(from, edge): &(Option<u8>, Edge)| {
            edge.to.is_none() && from.is_some_and(|from| self.steps[usize::from(from)].is_greedy)
        };
        if self.edges.iter().any(ends_greedy) {
            let what = "\"greedy\" at the end of a pattern: nobody knows when no more will come";
            return mistake(pattern.sequence.place, what);
        }
        let of = |from: Option<u8>| {
            let edges = self.edges.iter().enumerate().filter(move |(_, (f, _))| *f == from);
            edges.map(|(i, _)| i as u16).collect::<Vec<_>>()
        };
        let follow: Vec<_> = (0..self.steps.len()).map(|step| of(Some(step as u8))).collect();
        let starts = of(None);
        for (step, follow) in self.steps.iter_mut().zip(follow) {
            step.follow = follow.into();
        }
        let all = Scope { own: None, known: u64::MAX };
        let condition = self.condition(pattern.condition.as_ref(), all)?;
        let emit = pattern.emit.iter().map(|tree| self.expression(tree, all).map(|(_, ops)| ops));
        let emit = emit.collect::<Checked<Vec<_>>>()?;
        let skip = self.skip(&pattern.skip)?;
        let keys_of = |(i, ty): (usize, &crate::schema::EventType)| {
            let ours = self.streams.contains(&ty.stream.as_str());
            let slots = || {
                self.keys.iter().filter_map(|(key, _)| self.field(i, key, Place::default()).ok()).collect()
            };
            ours.then(slots)
        };
        Ok(Program {
            name: pattern.name.text.clone(),
            bindings: self.bindings.iter().map(|(name, _)| (*name).to_owned()).collect(),
            keys: self.schema.types.iter().enumerate().map(keys_of).collect(),
            has_greedy: self.steps.iter().any(|step| step.is_greedy),
            steps: self.steps,
            edges: self.edges.into_iter().map(|(_, edge)| edge).collect(),
            starts,
            within: pattern.within,
            condition,
            skip,
            emit,
        })
    }
}

/// Which names an expression may use.
#[derive(Clone, Copy)]
struct Scope {
    /// Kind of the event that is looked at.
    own: Option<usize>,
    /// A bit for each binding.
    known: u64,
}
