//! Whose turn it is.

use super::contender::{Contender, Mode};

/// The contenders of a lock, in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue(Vec<Contender>);

/// Where a contender stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn<'a> {
    /// It has the lock.
    Now,
    /// It waits for this one to go.
    After(&'a Contender),
    /// It is not in the queue.
    Gone,
}

impl Queue {
    /// From the names of a directory's children, of which some may be no contenders.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a String>) -> Queue {
        let mut queue: Vec<Contender> = names.into_iter().filter_map(|name| Contender::parse(name)).collect();
        queue.sort_unstable_by(|a, b| (a.number, &a.name).cmp(&(b.number, &b.name)));
        Queue(queue)
    }

    /// The turn of the contender of this name.
    ///
    /// An exclusive one follows whoever stands right before it, a shared one the last exclusive one before it. So one
    /// that goes wakes one that waits, or the readers that waited for a writer.
    pub fn turn(&self, name: &str) -> Turn<'_> {
        let Some(at) = self.0.iter().position(|contender| contender.name == name) else { return Turn::Gone };
        match self.before(at, self.0[at].mode) {
            Some(before) => Turn::After(before),
            None => Turn::Now,
        }
    }

    /// Whom a newcomer would have to wait for, leaving out those for which `own` is true.
    pub fn obstacle(&self, mode: Mode, own: impl Fn(&Contender) -> bool) -> Option<&Contender> {
        self.0.iter().find(|other| (mode == Mode::Exclusive || other.mode == Mode::Exclusive) && !own(other))
    }

    fn before(&self, at: usize, mode: Mode) -> Option<&Contender> {
        self.0[..at].iter().rev().find(|other| mode == Mode::Exclusive || other.mode == Mode::Exclusive)
    }

    /// All contenders, and for each whether it has the lock.
    pub fn iter(&self) -> impl Iterator<Item = (&Contender, bool)> {
        self.0.iter().enumerate().map(|(at, contender)| (contender, self.before(at, contender.mode).is_none()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(names: &[&str]) -> Queue {
        Queue::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    fn after<'a>(queue: &'a Queue, name: &str) -> Option<&'a str> {
        match queue.turn(name) {
            Turn::After(other) => Some(&other.name),
            _ => None,
        }
    }

    #[test]
    fn by_number_and_not_by_name() {
        let queue = queue(&["a-lock-0000000003", "z-lock-0000000001", "file", "0__lock__0000000002"]);
        assert_eq!(queue.turn("z-lock-0000000001"), Turn::Now);
        assert_eq!(after(&queue, "0__lock__0000000002"), Some("z-lock-0000000001"));
        assert_eq!(after(&queue, "a-lock-0000000003"), Some("0__lock__0000000002"));
        assert_eq!(queue.turn("b-lock-0000000004"), Turn::Gone);
    }

    #[test]
    fn readers_together_and_a_writer_alone() {
        let [r1, r2, w3, r4, w5] = [
            "a-shared-lock-0000000001",
            "b-shared-lock-0000000002",
            "c-lock-0000000003",
            "d-shared-lock-0000000004",
            "e-lock-0000000005",
        ];
        let queue = queue(&[w5, r4, w3, r2, r1]);
        assert_eq!((queue.turn(r1), queue.turn(r2)), (Turn::Now, Turn::Now));
        assert_eq!(after(&queue, w3), Some(r2));
        assert_eq!(after(&queue, r4), Some(w3), "a reader that comes later does not overtake a writer");
        assert_eq!(after(&queue, w5), Some(r4));
        let holders: Vec<&str> = queue.iter().filter(|(_, holds)| *holds).map(|(c, _)| c.name.as_str()).collect();
        assert_eq!(holders, [r1, r2]);
    }

    #[test]
    fn obstacles_of_newcomers() {
        let readers = queue(&["a-shared-lock-0000000001", "b-shared-lock-0000000002"]);
        let nobody = |_: &Contender| false;
        assert_eq!(readers.obstacle(Mode::Shared, nobody), None);
        assert_eq!(readers.obstacle(Mode::Exclusive, nobody).unwrap().number, 1);
        assert_eq!(readers.obstacle(Mode::Exclusive, |other| other.number == 1).unwrap().number, 2);
        assert_eq!(queue(&["file"]).obstacle(Mode::Exclusive, nobody), None);
    }
}
